"""Who comes through a task's door is where its command is, as who that is, and with no more rights."""

from __future__ import annotations

import contextlib
import json
import os
import signal
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
    WHO_TESTS,
    Walled,
    end_agents,
    stop,
    succeeds,
    walled_root,
)
from live.platform import eventually
from smalt.agent.visit import DOOR_KEY_FILE, Visit
from smalt.agent.wire import Outcome, Phase
from smalt.arm.errors import ArmError
from smalt.engines.local.doors import knock


@pytest.fixture(params=[OWN_USER, PLAIN_USER, OWN_NETWORK, PLAIN_LANDLOCK, WHO_TESTS])
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with walled_root(*request.param) as made:
        yield made
        end_agents(made)


class Visitor:
    """One line to a task, and what came over it."""

    def __init__(self, folder: Path, *argv: str, **more: object) -> None:
        self.line = knock(folder, Visit(list(argv), **more))  # type: ignore[arg-type]
        self.line.settimeout(20)
        self.said, self.errors, self.code, self._rest = b"", b"", None, b""

    def type(self, data: bytes, letter: bytes = b"d") -> None:
        self.line.sendall(letter + len(data).to_bytes(4, "big") + data)

    def until(self, text: bytes) -> None:
        with contextlib.suppress(TimeoutError):
            while text not in self.said and self._hear():
                pass
        assert text in self.said, (self.said, self.errors)

    def end(self) -> int | None:
        """The exit code; None where the line was cut."""
        while self._hear():
            pass
        self.line.close()
        return self.code

    def _hear(self) -> bool:
        data = self.line.recv(65536)
        self._rest += data
        while len(self._rest) >= 5 and len(self._rest) >= 5 + (length := int.from_bytes(self._rest[1:5], "big")):
            letter, body, self._rest = self._rest[:1], self._rest[5 : 5 + length], self._rest[5 + length :]
            if letter == b"x":
                self.code = int(body)
            elif letter == b"o":
                self.said += body
            else:
                self.errors += body
        return bool(data)


def running(walled: Walled, command: str = "", **values: object) -> tuple[Path, int]:
    home = walled.root / "homes" / "w"
    told = f"(readlink /proc/self/ns/*; id -u) > {home}/new.ns; mv {home}/new.ns {home}/command.ns; "
    folder, pid = walled.begin(told + (command or "exec sleep 1000"), **values)
    walled.until(folder, lambda state: state.phase is Phase.RUNNING)
    eventually((folder / "door").exists, "a door", pause_s=0.005)
    eventually((home / "command.ns").exists, "what the command told", pause_s=0.005)
    return folder, pid


def end(walled: Walled, folder: Path, pid: int) -> None:
    stop(walled, folder, 0)
    os.waitpid(pid, 0)


def test_it_is_the_commands_own_place_and_user(walled: Walled) -> None:
    folder, pid = running(walled)
    visitor = Visitor(folder, "bash", "-c", "readlink /proc/self/ns/*; id -u; pwd; echo beside >&2; exit 7")
    assert visitor.end() == 7, visitor.errors
    *told, place = visitor.said.decode().splitlines()
    assert told == (walled.root / "homes" / "w" / "command.ns").read_text().splitlines()
    assert place == str(folder / "user" / "work") and visitor.errors == b"beside\n"
    end(walled, folder, pid)


def test_it_sees_nothing_of_the_platform_and_can_gain_nothing(walled: Walled) -> None:
    folder, pid = running(walled)
    for path in ("secrets/signing.pem", "smalt.db", f"tasks/{folder.name}/task.json", f"tasks/{folder.name}/door.key"):
        visitor = Visitor(folder, "cat", str(walled.root / path))
        assert visitor.end() == 1 and not visitor.said, path
    visitor = Visitor(folder, "grep", "-E", "Cap(Eff|Prm|Bnd|Amb)|NoNewPrivs", "/proc/self/status")
    assert visitor.end() == 0
    rights = dict(line.split(":\t") for line in visitor.said.decode().splitlines())
    if walled.level == "files":
        del rights["CapBnd"]  # what a plain user may not give up, and cannot use without new privileges
    assert rights.pop("NoNewPrivs") == "1" and set(rights.values()) == {"0000000000000000"}
    visitor = Visitor(
        folder, "bash", "-c", "ls -l /proc/[0-9]*/fd /proc/[0-9]*/environ > /dev/null; cat /proc/[0-9]*/environ"
    )
    visitor.end()
    assert b"s3cret" not in visitor.said, "the process that serves the door can be looked into"
    end(walled, folder, pid)


def test_a_terminal_has_a_size_a_shell_and_signals(walled: Walled) -> None:
    if walled.level == "files":
        pytest.skip("the machine's own terminals are not shown by Landlock alone")
    folder, pid = running(walled)
    visitor = Visitor(folder, terminal=True, rows=33, columns=99, term="xterm")
    visitor.type(b"tty; stty size; echo $TERM; echo ${PPID}x\n")
    visitor.until(b"33 99\r\nxterm\r\n")
    assert b"/dev/pts/" in visitor.said
    visitor.type(json.dumps([40, 120]).encode(), b"w")
    visitor.type(b"stty size\n")
    visitor.until(b"40 120\r\n")
    visitor.type(b"sh -c 'echo waits; exec sleep 1000'\n")
    visitor.until(b"waits\r\n")
    visitor.type(b"\x03")
    visitor.type(b"echo after $?\n")
    visitor.until(b"after 130")
    visitor.type(b"exit 5\n")
    assert visitor.end() == 5
    end(walled, folder, pid)


def test_what_is_typed_goes_in_and_has_an_end(walled: Walled) -> None:
    folder, pid = running(walled)
    visitor = Visitor(folder, "wc", "-c")
    for _ in range(64):
        visitor.type(b"x" * 65536)
    visitor.type(b"", b"e")
    assert visitor.end() == 0 and visitor.said.strip() == b"4194304"
    end(walled, folder, pid)


def test_who_leaves_ends_what_he_began_and_the_job_goes_on(walled: Walled) -> None:
    folder, pid = running(walled)
    alive = walled.root / "homes" / "w" / "alive"
    visitor = Visitor(folder, "bash", "-c", f"trap '' HUP; while :; do touch {alive}; sleep 0.02; done")
    eventually(alive.exists, "the shell")
    visitor.line.close()  # it is killed two seconds later, where it does not listen
    eventually(lambda: not _shells(str(alive)), "its end")
    state = walled.state(folder)
    assert state is not None and state.phase is Phase.RUNNING
    end(walled, folder, pid)


def test_who_leaves_while_nothing_that_was_typed_is_read_is_missed(walled: Walled) -> None:
    folder, pid = running(walled)
    visitor = Visitor(folder, "bash", "-c", "trap '' HUP; : never-reads; while :; do sleep 0.02; done")
    eventually(lambda: _shells("never-reads"), "the shell")
    for size in ((1 << 20) - 1, 256 << 10):  # more than what the door and a pipe keep for it
        visitor.type(b"x" * size)
    visitor.line.close()
    eventually(lambda: not _shells("never-reads"), "its end")
    end(walled, folder, pid)


def _shells(words: str) -> list[int]:
    """The processes of this machine with these words on their command line."""
    found: list[int] = []
    for one in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if words.encode() in (one / "cmdline").read_bytes():
                found.append(int(one.name))
    return found


def test_the_job_ends_its_visits(walled: Walled) -> None:
    folder, pid = running(walled)
    visitor = Visitor(folder, "bash", "-c", "echo in; sleep 1000")
    visitor.until(b"in")
    end(walled, folder, pid)
    assert visitor.end() in (None, 143)
    with pytest.raises(ArmError, match="Nobody can connect"):
        knock(folder, Visit())


def test_one_visitor_too_many_is_told_so(walled: Walled) -> None:
    folder, pid = running(walled)
    visits = [Visitor(folder, "sh", "-c", "echo there; exec cat") for _ in range(8)]
    for one in visits:
        one.until(b"there")
    late = Visitor(folder, "true")
    assert late.end() == 126 and b"8 processes of visitors run in this job already" in late.errors
    for one in visits:
        one.line.close()
    end(walled, folder, pid)


def test_nobody_comes_in_without_the_key(walled: Walled) -> None:
    folder, pid = running(walled)
    key = folder / DOOR_KEY_FILE
    right = key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600
    for said in (Visit(["id"]).line("0" * 32), b"[1]\n", b"\xff\n", b"{}\n", b"x" * 200_000):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20)
            line.connect(str(folder / "door"))
            try:
                line.sendall(said)
                assert line.recv(10) == b""
            except OSError:
                pass  # it was cut while we spoke
    assert Visitor(folder, "true").end() == 0 and key.read_text() == right
    end(walled, folder, pid)


def test_a_failed_command_is_held_for_who_looks_and_ended_by_a_stop(walled: Walled) -> None:
    folder, pid = running(walled, "echo evidence > found; exit 3", hold_s=600)
    journal = folder / "system.log"
    eventually(lambda: journal.exists() and "are kept for 600 s" in journal.read_text(), "the walls being kept")
    held = walled.state(folder)
    assert held is not None and held.error == "The command ended with exit code 3."
    assert time.time() < held.held_until <= time.time() + 600
    visitor = Visitor(folder, "bash", "-c", "cat found; readlink /proc/self/ns/*; id -u")
    assert visitor.end() == 0, visitor.errors
    told = (walled.root / "homes" / "w" / "command.ns").read_text()
    assert visitor.said.decode() == f"evidence\n{told}"
    end(walled, folder, pid)
    state = walled.state(folder)
    assert state is not None and (state.outcome, state.exit_code) == (Outcome.EXITED, 3)


def test_what_is_held_ends_by_itself_and_what_succeeds_is_not_held(walled: Walled) -> None:
    state, _ = walled.run("exit 4", hold_s=0.2)
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 4)
    begun = time.monotonic()
    succeeds(walled.run("true", hold_s=600))
    assert time.monotonic() - begun < 60


def test_a_killed_agent_takes_its_visitors_along(walled: Walled) -> None:
    folder, pid = running(walled)
    visitor = Visitor(folder, "bash", "-c", "echo in; sleep 1000")
    visitor.until(b"in")
    state = walled.state(folder)
    assert state is not None
    os.kill(state.agent_pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert visitor.end() is None
