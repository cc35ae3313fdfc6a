"""What keeps a node going on Ray's side, and how it ends. Ray itself is not there."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.util.placement_group import PlacementGroup

from smalt.engines.ray import bridge
from smalt.engines.ray.bridge import REVOKED, Node

NODE = {"name": "rays-1", "cpus": 1, "gpus": 0, "token": "secret"}


HERE = SimpleNamespace(
    get_node_id=lambda: "0123456789abcdef",
    get_accelerator_ids=lambda: {"GPU": ["3", "1"], "TPU": []},
)


class Side:
    """`run` stands for `smalt node run`. `removed`: groups; `ended`: how the process ended, once it did."""

    def __init__(self, folder: Path) -> None:
        self.wanted = {
            "namespace": "smalt-1",
            "version": "1",
            "folder": str(folder),
            "isolation": "off",
            "server": "s",
            "ca": "c",
        }
        self.removed: list[Any] = []
        self.ended: list[int] = []
        self.gone, self.dead = threading.Event(), threading.Event()  # one of the first, of the second
        self.run: Callable[[], int] = lambda: REVOKED

    def remove(self, group: Any) -> None:
        self.removed.append(group)
        self.gone.set()

    def exit(self, code: int) -> None:
        self.ended.append(code)
        self.dead.set()


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Side:
    one = Side(tmp_path)
    monkeypatch.setattr(bridge, "check_version", lambda wanted: None)
    monkeypatch.setattr(bridge, "FIRST_S", 0.2)
    monkeypatch.setattr(bridge, "LAST_S", 5.0)
    monkeypatch.setattr(Node, "_run", lambda node: one.run())
    monkeypatch.setattr(bridge.os, "_exit", one.exit)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: HERE)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.7")
    monkeypatch.setattr(ray.util, "get_placement_group", lambda name: name)
    monkeypatch.setattr(ray.util, "remove_placement_group", one.remove)
    return one


def test_a_node_that_is_revoked_gives_its_room_back(side: Side) -> None:
    gate = threading.Event()
    side.run = lambda: REVOKED if gate.wait(10) else 0
    node = Node(side.wanted, NODE)
    assert node._command[-4:] == ["--gpus", "3,1", "--address", "192.0.2.7"]
    gate.set()
    assert side.gone.wait(10) and side.removed == ["smalt-1/rays-1"] and not side.ended


def test_room_is_given_back_though_the_folder_cannot_be(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(root: Path) -> None:
        raise PermissionError("tasks")

    gate = threading.Event()
    side.run = lambda: REVOKED if gate.wait(10) else 0
    monkeypatch.setattr(bridge, "give_back", fails)
    node = Node(side.wanted, NODE)
    gate.set()
    node.end()
    assert side.dead.wait(10) and side.removed == ["smalt-1/rays-1"] and side.ended == [1]


def test_the_process_ends_with_the_thread_that_keeps_the_node(side: Side) -> None:
    gate = threading.Event()

    def run() -> int:
        gate.wait(10)
        raise BlockingIOError("no process more")

    side.run = run
    Node(side.wanted, NODE)
    gate.set()
    assert side.dead.wait(10) and side.ended == [1] and not side.removed


def test_a_node_that_cannot_be_started_says_why(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "FIRST_S", 10.0)  # it is over with the failure

    def run() -> int:
        raise FileNotFoundError("leash.py")

    side.run = run
    with pytest.raises(RuntimeError, match=r"FileNotFoundError: leash\.py"):
        Node(side.wanted, NODE)
    assert not side.ended, "Ray would start it again and again"


def script(side: Side, monkeypatch: pytest.MonkeyPatch, text: str, **constants: float) -> None:
    """In place of `smalt node run`, for real; `fd` is where it says that it is connected."""
    monkeypatch.undo()
    begin = "import os, sys, time; fd = int(sys.argv[-1])\n"
    monkeypatch.setattr(bridge, "check_version", lambda wanted: None)
    monkeypatch.setattr(bridge.os, "_exit", side.exit)
    monkeypatch.setattr(bridge, "PAUSE_S", 0.05)
    for name, value in constants.items():
        monkeypatch.setattr(bridge, name, value)
    monkeypatch.setattr(bridge, "command", lambda *_: [sys.executable, "-c", begin + text])
    monkeypatch.setattr(ray, "get_runtime_context", lambda: HERE)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.7")
    monkeypatch.setattr(ray.util, "get_placement_group", lambda name: name)
    monkeypatch.setattr(ray.util, "remove_placement_group", side.remove)


CONNECTS = "os.write(fd, b'connected\\n'); os.close(fd); "


def test_a_node_is_there_once_it_is_connected(side: Side, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    over = tmp_path / "over"
    text = f"{CONNECTS}\nwhile not os.path.exists({str(over)!r}): time.sleep(0.05)\nsys.exit(3)"
    script(side, monkeypatch, text, FIRST_S=3600)
    node = Node(side.wanted, NODE)
    assert not side.removed
    over.touch()
    node.end()
    assert side.gone.wait(30) and side.removed == ["smalt-1/rays-1"]


def test_a_node_that_fails_at_first_says_its_last_line(
    side: Side, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    once = tmp_path / "once"
    text = (
        f"if os.path.exists({str(once)!r}): sys.exit(3)\nopen({str(once)!r}, 'w'); print('first'); sys.exit('no walls')"
    )
    script(side, monkeypatch, text, FIRST_S=3600)
    with pytest.raises(RuntimeError, match=r"^no walls$"):
        Node(side.wanted, NODE)
    for thread in [one for one in threading.enumerate() if one.name.endswith("(_keep)")]:
        thread.join(60)
        assert not thread.is_alive(), "nobody tries on for an actor that has ended"
    assert not side.removed


def test_a_node_that_ray_starts_again_is_tried_for_a_while(
    side: Side, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    text = (
        f"p = {str(tries)!r}; n = len(open(p).read()) if os.path.exists(p) else 0; open(p, 'a').write('x')\n"
        f"if n < 3: sys.exit(f'not yet: {{n}}')\n{CONNECTS}sys.exit(3)"
    )
    script(side, monkeypatch, text, FIRST_S=3600)
    root = bridge.own_root(tmp_path / "0123456789ab", "rays-1")
    (root / "incarnation").write_text("it has run before")
    node = Node(side.wanted, NODE)
    assert len(tries.read_text()) >= 4
    assert [f"not yet: {n}" in node._log.read_text() for n in range(3)] == [True] * 3, "what was said is kept"
    node.end()  # which gives all of it back
    tries.unlink()
    with pytest.raises(RuntimeError, match="not yet"):
        Node(side.wanted, NODE)


def test_the_log_keeps_the_last_part_of_what_was_said(tmp_path: Path) -> None:
    log = tmp_path / "n0.log"
    log.write_bytes(b"old\n" * bridge.LOG_BYTES + b"why it ended\n")
    with bridge.opened_log(log) as file:
        file.write(b"new\n")
    kept = log.read_bytes()
    assert len(kept) < bridge.LOG_BYTES and kept.startswith(b"old\n")
    assert kept.splitlines()[-3] == b"why it ended" and kept.splitlines()[-1] == b"new"


def test_a_root_is_found_again_by_its_owner(tmp_path: Path) -> None:
    root = bridge.own_root(tmp_path, "rays-1")
    owner = root.with_suffix(".owner")
    before = owner.stat()
    assert bridge.own_root(tmp_path, "rays-2") != root == bridge.own_root(tmp_path, "rays-1")
    assert owner.stat().st_mtime_ns == before.st_mtime_ns, "it is never without one"


def test_a_group_is_removed_whatever_its_node_says(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "placement_group_table", lambda group: {})
    group = PlacementGroup.empty()
    with pytest.raises(KeyError):
        bridge.end("rays-1", group)
    assert side.removed == [group]
