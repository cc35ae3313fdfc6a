"""Several processes of one task: a log for each, one end. Real processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil

from fakes.carriers import BOTH
from fakes.refs import ref
from smalt.agent.ranks import RankSpec
from smalt.agent.wire import Outcome, Phase, TaskState

pytestmark = BOTH


def ranks(local: Any, count: int, **values: Any) -> list[RankSpec]:
    """Each with its number in RANK, and a log of its own."""
    return [
        RankSpec(log=ref(local.root / "logs" / f"rank{one}.txt"), variables={"RANK": str(one)}, **values)
        for one in range(count)
    ]


def said(local: Any, rank: int) -> str:
    return (local.root / "logs" / f"rank{rank}.txt").read_text()


def gate(local: Any) -> Path:
    """A FIFO outside of the task's folder, through which it says how far it is."""
    path = local.root / "ready"
    if not path.exists():
        os.mkfifo(path)
    return path


def run(local: Any, command: str, given: list[RankSpec], **values: Any) -> TaskState:
    state, _ = local.run(command=command, ranks=given, timeout_s=20, **values)
    return state


def test_each_rank_has_its_variables_and_its_log(local: Any) -> None:
    command = "echo I am $RANK of $WORLD_SIZE; echo error $RANK > /dev/stderr"
    state = run(local, command, ranks(local, 3), variables={"WORLD_SIZE": "3", "RANK": "nobody"})
    assert (state.outcome, state.exit_code, state.rank) == (Outcome.EXITED, 0, None)
    assert [said(local, one) for one in range(3)] == [f"I am {one} of 3\nerror {one}\n" for one in range(3)]


def test_a_rank_that_fails_ends_the_others_and_its_log_is_named(local: Any) -> None:
    """The others are told once, with SIGTERM, and may tidy up."""
    command = (
        "mkfifo ready.$RANK; trap 'echo tidied; exit 0' TERM; echo up;"
        " if [ $RANK = 1 ]; then for one in 0 2; do until [ -e up.$one ]; do :; done; done;"
        " echo the reason; exit 7; fi; touch up.$RANK; while :; do read _ < ready.$RANK; done"
    )
    state = run(local, command, ranks(local, 3))
    assert (state.outcome, state.exit_code, state.rank) == (Outcome.EXITED, 7, 1)
    assert "rank1.txt" in state.error and "the reason" in state.error and "status code 7" in state.error
    assert said(local, 0) == said(local, 2) == "up\ntidied\n"


def test_a_rank_that_is_killed_is_named_with_its_signal(local: Any) -> None:
    command = "[ $RANK = 2 ] && kill -9 $$; exec sleep 1000"
    state = run(local, command, ranks(local, 3))
    assert (state.outcome, state.rank) == (Outcome.EXITED, 2) and "signal 9" in state.error


def test_those_that_do_not_listen_are_killed_after_the_grace(local: Any) -> None:
    command = (
        "trap '' TERM; echo $$ > pid.$RANK; mv pid.$RANK up.$RANK; until [ -e up.0 ] && [ -e up.1 ]; do :; done;"
        " [ $RANK = 0 ] && exit 4; echo here; mkfifo never; while :; do read _ <> never; done"
    )
    state = run(local, command, ranks(local, 2), grace_s=1)
    assert (state.exit_code, state.rank, said(local, 1)) == (4, 0, "here\n")


def test_ranks_end_when_the_last_has(local: Any) -> None:
    command = "mkfifo gate 2> /dev/null; until [ -p gate ]; do :; done; [ $RANK = 0 ] && echo > gate || read _ < gate"
    assert run(local, command, ranks(local, 2)).exit_code == 0


def test_a_rank_that_serves_is_ended_by_who_knows_that_all_are_done(local: Any) -> None:
    worker, server = ranks(local, 2)
    serving = RankSpec(
        server.log, ["bash", "-c", "trap 'echo served; exit 0' TERM; touch up; sleep 1000 & wait"], serves=True
    )
    local.engine.ensure(local.task("t", command="until [ -e up ]; do :; done; echo worked", ranks=[worker, serving]))
    state = local.changes.until("t", lambda one: one.done)
    assert state.phase is Phase.RUNNING
    local.engine.stop("t", 20)
    state = local.changes.ended("t")
    assert (state.outcome, state.done, state.rank) == (Outcome.STOPPED, True, None)
    assert (said(local, 0), said(local, 1)) == ("worked\n", "served\n")


def test_one_that_serves_alone_is_done_from_the_beginning(local: Any) -> None:
    local.engine.ensure(local.task("t", command="sleep 1000", ranks=ranks(local, 1, serves=True)))
    assert local.changes.until("t", lambda one: one.done).phase is Phase.RUNNING


def test_one_that_serves_and_fails_fails(local: Any) -> None:
    _, server = ranks(local, 2, serves=True)
    state = run(
        local,
        "sleep 1000",
        [*ranks(local, 1), RankSpec(server.log, ["bash", "-c", "echo broken; exit 9"], serves=True)],
    )
    assert (state.exit_code, state.rank, state.done) == (9, 1, False) and "broken" in state.error


COUNTS = """
import os, signal, time
told = []
signal.signal(signal.SIGTERM, lambda *_: (told.append(1), print("told", flush=True)))
open(f"up.{os.environ['RANK']}", "w").close()
while os.environ["RANK"] == "0" and not os.path.exists("up.1"):
    pass
if os.environ["RANK"] == "0":
    open(os.environ["GATE"], "w").close()
while not told:  # a signal before a pause would be waited for without an end
    time.sleep(0.01)
time.sleep(0.3)  # for what must not come
"""


def test_a_stop_reaches_each_rank_once(local: Any) -> None:
    variables = {"CODE": COUNTS, "GATE": str(gate(local))}
    task = local.task("t", command='python3 -c "$CODE"', ranks=ranks(local, 2), variables=variables)
    local.engine.ensure(task)
    gate(local).read_text()
    local.engine.stop("t", 20)
    state = local.changes.ended("t")
    assert (state.outcome, state.rank) == (Outcome.STOPPED, None)
    assert [said(local, one) for one in range(2)] == ["told\n", "told\n"]


def test_a_foreman_that_is_killed_takes_its_ranks_along(local: Any) -> None:
    command = (
        f"touch up.$RANK; [ $RANK = 0 ] && until [ -e up.1 ]; do :; done && echo > '{gate(local)}'; exec sleep 1000"
    )
    local.engine.ensure(local.task("t", command=command, ranks=ranks(local, 2)))
    gate(local).read_text()
    foreman = local.changes.running("t").pid
    children = psutil.Process(foreman).children()
    assert len(children) == 2
    os.kill(foreman, signal.SIGKILL)
    state = local.changes.ended("t")
    assert state.outcome is Outcome.EXITED and state.exit_code == 137
    assert not [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_what_ranks_had_said_is_in_their_logs_when_the_agent_is_killed(local: Any) -> None:
    command = (
        "echo from $RANK; touch up.$RANK;"
        f" [ $RANK = 0 ] && until [ -e up.1 ]; do :; done && echo > '{gate(local)}'; exec sleep 1000"
    )
    local.engine.ensure(local.task("t", command=command, ranks=ranks(local, 2)))
    gate(local).read_text()
    os.kill(local.changes.running("t").agent_pid, signal.SIGKILL)
    assert local.changes.ended("t").outcome is Outcome.LOST
    assert [said(local, one) for one in range(2)] == ["from 0\n", "from 1\n"]


def test_a_rank_has_nothing_of_the_others_open(local: Any) -> None:
    """Neither their logs nor what the foreman says to the agent: its three streams, and the folder that it lists."""
    state = run(local, """exec python3 -c 'import os; print(os.listdir("/proc/self/fd"))'""", ranks(local, 2))
    assert state.exit_code == 0 and said(local, 0) == "['0', '1', '2', '3']\n"
