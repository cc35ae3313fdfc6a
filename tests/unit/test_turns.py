"""Tests side by side: what shares a server stays together, long folders come first, and `serial` means alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from live.ports import free_port
from live.turns import group, rank, workers

TESTS = Path(__file__).parents[1]


def test_what_shares_a_server_stays_together() -> None:
    files = list(TESTS.rglob("test_*.py"))
    assert len(files) > 50
    groups = {path: group(path, TESTS) for path in files}
    for conftest in TESTS.glob("*/**/conftest.py"):
        if 'scope="session"' in conftest.read_text() or 'scope="module"' in conftest.read_text():
            below = {groups[path] for path in files if path.is_relative_to(conftest.parent)}
            assert len(below) == 1, conftest


def test_long_folders_start_first() -> None:
    names = ["unit/arm/test_ids.py", "contract/store", "crash", "elsewhere", "e2e", "contract/tracking", "browser"]
    wanted = ["e2e", "contract/tracking", "crash", "contract/store", "browser", "unit/arm/test_ids.py", "elsewhere"]
    assert sorted(names, key=rank) == wanted


def test_a_few_named_tests_need_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert [workers(["tests"]), workers(["tests/unit"])] == [4, 4]
    assert [workers(["tests/unit/test_turns.py"]), workers(["tests", "x.py::test_a[b]"])] == [0, 0]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert workers(["tests"]) == 0


def test_who_runs_alone_waits_for_the_others_and_lets_nobody_in(tmp_path: Path) -> None:
    """Three processes write when they are in the room: the one that is alone is inside between whole stays of the others."""
    code = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from live import turns
        from live.turns import turn
        turns._GATE, turns._ROOM = (Path(sys.argv[2] + end) for end in (".gate", ".room"))  # this test has a turn itself
        for _ in range(100):
            with turn(alone=sys.argv[1] == "alone"):
                log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.write(log, f"{sys.argv[1]} in;".encode())
                os.write(log, f"{sys.argv[1]} out;".encode())
                os.close(log)
    """)
    log = tmp_path / "log"
    for end in (".gate", ".room"):
        Path(f"{log}{end}").touch()
    command = [sys.executable, "-c", code]
    these = [subprocess.Popen([*command, name, str(log)], cwd=TESTS) for name in ("a", "alone", "b")]
    assert [one.wait(60) for one in these] == [0, 0, 0]
    inside: set[str] = set()
    for line in log.read_text().rstrip(";").split(";"):
        name, what = line.split()
        if what == "out":
            inside.remove(name)
            continue
        assert not inside or (name != "alone" and "alone" not in inside)
        inside.add(name)


def test_a_port_is_given_once_whoever_asks() -> None:
    code = "import sys; from live.ports import free_port; print(*(free_port() for _ in range(50)), flush=True); sys.stdin.read()"
    others = [
        subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True, cwd=TESTS) for _ in range(2)
    ]
    given = [str(free_port()) for _ in range(50)]
    for one in others:
        assert one.stdout is not None
        given += one.stdout.readline().split()
    for one in others:
        one.communicate()
    assert len(given) == 150
    assert len(set(given)) == 150
