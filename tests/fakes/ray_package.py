"""A package `ray` that has what the nodes of a Ray job ask of it: a cluster of sockets, in milliseconds.

Who says `die` to the head ends it; the others leave with it, as Ray's do.
"""

from __future__ import annotations

from pathlib import Path

_RAYLET = """
import socket

def ask(address, word):
    host, port = address.rsplit(":", 1)
    line = socket.create_connection((host, int(port)), 30)
    line.sendall(word.encode() + b"\\n")
    return line

class _Alive:
    state = 0

class GcsClient:
    def __init__(self, address):
        self._address = address

    def get_all_node_info(self, timeout):
        with ask(self._address, "count") as line:
            return {number: _Alive() for number in range(int(line.makefile().readline()))}
"""
_SCRIPTS = """
import socket, sys
from ray._raylet import ask

def main():
    given = dict(one.split("=", 1) for one in sys.argv if "=" in one)
    print("ray", *sys.argv[1:], flush=True)
    assert sys.argv[1:3] == ["start", "--block"], sys.argv
    if "--head" not in sys.argv:
        with ask(given["--address"], "join") as line:
            line.recv(1)
        sys.exit("the head is gone")
    joined = []
    with socket.create_server((given["--node-ip-address"], int(given["--port"]))) as server:
        while True:
            one, _ = server.accept()
            word = one.makefile().readline().strip()
            if word == "die":
                sys.exit("the head dies")
            elif word == "join":
                joined.append(one)
            elif word == "count":
                one.sendall(b"%d\\n" % (1 + len(joined)))
"""


def make(folder: Path) -> Path:
    """What a PYTHONPATH has to name."""
    package = folder / "ray"
    for name, text in (("__init__", ""), ("_raylet", _RAYLET), ("scripts/__init__", ""), ("scripts/scripts", _SCRIPTS)):
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
