"""The log of a task: nothing that a command does to its own streams, and no end of its agent, loses what was said."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.refs import ref
from fakes.walled import PLAIN, PYTHON, USER, Walled, needs_root, succeeds, walled_root
from live.patience import PATIENCE_S
from smalt.agent.wire import Outcome, OutputSpec, Phase

OPEN: dict[str, Any] = {"walls": None}
AGAIN = f"""echo a; echo b > /dev/stderr; echo c >/dev/stdout; {PYTHON} -c "open('/dev/stderr', 'w').write('d\\n')" """


@pytest.fixture(
    params=[
        pytest.param((None, 0), id="who runs the tests"),
        pytest.param((None, USER), id="root, own user", marks=needs_root),
        pytest.param((PLAIN, 0), id="plain user", marks=needs_root),
        pytest.param((PLAIN, 0, "files"), id="plain user, Landlock", marks=needs_root),
    ]
)
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with walled_root(*request.param) as made:
        yield made


@pytest.mark.parametrize("how", [pytest.param(OPEN, id="open"), pytest.param({}, id="walled")])
def test_a_stream_that_is_opened_again_loses_nothing(walled: Walled, how: dict[str, Any]) -> None:
    assert succeeds(walled.run(AGAIN, **how)).splitlines() == ["a", "b", "c", "d"]


def test_what_was_said_before_the_agent_was_killed_is_in_the_log(walled: Walled) -> None:
    """Stopped first, so that it cannot have read it."""
    place = walled.root / "blobs" / "out"
    outputs = [OutputSpec(name="o", target=ref(place))]
    go = "echo first; while ! test -e ${{outputs.o}}/go; do sleep 0.01; done;"
    folder, pid = walled.begin(f"{go} echo last words; touch ${{{{outputs.o}}}}/said; sleep 600", outputs=outputs)
    state = walled.until(folder, lambda state: state.phase is Phase.RUNNING)
    os.kill(state.agent_pid, signal.SIGSTOP)
    (place / "go").touch()
    deadline = time.monotonic() + PATIENCE_S
    while not (place / "said").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(state.agent_pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ended = walled.state(folder)
    assert ended is not None and ended.outcome is Outcome.LOST
    assert (folder / "log").read_text() == "first\nlast words\n"


def test_a_command_that_says_much_is_heard_to_the_end(walled: Walled, tmp_path: Path) -> None:
    log = succeeds(walled.run("seq 1 1000000; echo end >&2"))
    assert log.splitlines() == [*map(str, range(1, 1_000_001)), "end"]
