"""Services behind real walls: whose port it is, programs beside the command, and the way in."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.walled import (
    OWN_NETWORK,
    OWN_USER,
    PLAIN_LANDLOCK,
    PLAIN_USER,
    PYTHON,
    WHO_TESTS,
    Walled,
    end_agents,
    stop,
    walled_root,
)
from live.ports import free_port
from smalt.agent.service_spec import ServiceSpec, ServiceState
from smalt.agent.wire import Phase
from smalt.arm.errors import ArmError
from smalt.engines.local.doors import reach

SERVER = (
    "import os, socket, sys\n"
    "one = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
    "while True:\n"
    "    line, _ = one.accept()\n"
    "    line.sendall(b'%d %s' % (os.getuid(), line.recv(100)[::-1]))\n"
    "    line.close()\n"
)


@pytest.fixture(params=[OWN_USER, PLAIN_USER, OWN_NETWORK, PLAIN_LANDLOCK, WHO_TESTS])
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with walled_root(*request.param) as made:
        yield made
        end_agents(made)


def until(walled: Walled, folder: Path, **services: tuple[str, str]) -> dict[str, ServiceState]:
    """The services, once each has its status and says what is given here."""

    def is_so(found: dict[str, ServiceState]) -> bool:
        return all(
            name in found and found[name].status == status and said in found[name].error
            for name, (status, said) in services.items()
        )

    return walled.until(folder, lambda state: state.phase is Phase.RUNNING and is_so(state.services)).services


def end(walled: Walled, folder: Path, pid: int) -> None:
    stop(walled, folder, 0)
    os.waitpid(pid, 0)


def said(line: socket.socket) -> bytes:
    with line:
        line.settimeout(20)
        line.sendall(b"olleh")
        return b"".join(iter(lambda: line.recv(100), b""))


def test_a_port_is_the_tasks_own_once_it_listens_there(walled: Walled) -> None:
    port, gate = free_port(), walled.root / "homes" / "w" / "gate"
    command = f'until [ -e {gate} ]; do sleep 0.01; done; exec {PYTHON} -c "{SERVER}" {port}'
    folder, pid = walled.begin(command, services=[ServiceSpec("app", port)])
    until(walled, folder, app=("Starting", f"listens at port {port}"))
    with pytest.raises(ArmError, match="Nothing of this job takes connections"):
        reach(folder, port)
    gate.touch()
    assert until(walled, folder, app=("Running", ""))["app"].port == port
    for _ in range(3):
        assert said(reach(folder, port)).endswith(b" hello")
    with pytest.raises(ArmError, match="Nothing of this job takes connections"):
        reach(folder, free_port())
    end(walled, folder, pid)
    with pytest.raises(ArmError, match="Nobody can connect"):
        reach(folder, port)


def test_somebody_elses_port_is_not_the_tasks(walled: Walled) -> None:
    port = free_port()
    folder, pid = walled.begin("exec sleep 1000", services=[ServiceSpec("app", port)])
    until(walled, folder, app=("Starting", "listens at port"))
    with socket.create_server(("127.0.0.1", port)):
        if walled.level != "network":
            until(walled, folder, app=("Failed", "taken by something"))
        with pytest.raises(ArmError, match="Nothing of this job takes connections"):
            reach(folder, port)
    end(walled, folder, pid)


def test_programs_run_beside_the_command_and_end_with_it(walled: Walled) -> None:
    home = walled.root / "homes" / "w"
    program = [PYTHON, "-c", SERVER, "0"]
    broken = ["bash", "-c", "echo what went wrong >&2; exit 3"]
    services = [
        ServiceSpec("here", programs=[["no-such-program"], program]),
        ServiceSpec("broken", programs=[broken]),
        ServiceSpec("missing", programs=[["no-such-program"]], missing="Add it to the environment."),
    ]
    folder, pid = walled.begin(f"id -u > {home}/user; exec sleep 1000", services=services)
    found = until(
        walled, folder, here=("Running", ""), broken=("Failed", "what went wrong"), missing=("Failed", "Add it")
    )
    user, _, word = said(reach(folder, found["here"].port)).partition(b" ")
    assert word == b"hello" and user == (home / "user").read_bytes().strip()
    end(walled, folder, pid)
    with socket.socket() as line:
        assert line.connect_ex(("127.0.0.1", found["here"].port)) != 0


HANGS = (
    "import socket, sys, time\n"
    "one = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=0)\n"
    "time.sleep(1000)\n"
)


def test_a_program_that_takes_no_connections_is_given_up_soon(walled: Walled) -> None:
    port = free_port()
    folder, pid = walled.begin(f'exec {PYTHON} -c "{HANGS}" {port}', services=[ServiceSpec("app", port)])
    until(walled, folder, app=("Running", ""))
    lines: list[socket.socket] = []
    begun = time.monotonic()
    with pytest.raises(ArmError, match="Nothing of this job takes connections"):
        while len(lines) < 10:
            lines.append(reach(folder, port))
            begun = time.monotonic()
    assert time.monotonic() - begun < 60
    for one in lines:
        one.close()
    end(walled, folder, pid)


SIX = (
    "import socket, sys\n"
    "one = socket.socket(socket.AF_INET6)\n"
    "one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(sys.argv[2]))\n"
    "one.bind(('::', int(sys.argv[1])))\n"
    "one.listen()\n"
    "while True:\n"
    "    line, _ = one.accept()\n"
    "    line.sendall(b'six ' + line.recv(100)[::-1])\n"
    "    line.close()\n"
)


@pytest.mark.parametrize("only", [0, 1])
def test_all_addresses_of_ipv6_are_the_tasks_and_nobody_elses(walled: Walled, only: int) -> None:
    port = free_port()
    folder, pid = walled.begin(f'exec {PYTHON} -c "{SIX}" {port} {only}', services=[ServiceSpec("app", port)])
    until(walled, folder, app=("Running", ""))
    with contextlib.ExitStack() as stack:
        if only:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        assert said(reach(folder, port)) == b"six hello"
    end(walled, folder, pid)
