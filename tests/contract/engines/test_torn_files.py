"""What a loss of power leaves of a task's files: it ends with a reason or is begun, and all others go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from fakes.carriers import BOTH
from fakes.refs import ref
from live.patience import PATIENCE_S
from live.processes import parent_of
from smalt.agent import wire
from smalt.agent.wire import InputSpec, Outcome, Phase
from smalt.engines.local.folders import TRASH
from smalt.engines.local.survey import running_tasks

HALF, TWO, NONE = '{"name": "t", "own', '{"name": "t"}{"name": "t"}', ""


def killed(local: Any, name: str) -> None:
    """The engine too: nobody has seen it."""
    state = local.changes.running(name)
    local.engine.close()
    both = [psutil.Process(parent_of(state.agent_pid)), psutil.Process(state.agent_pid)]
    for one in both:
        one.kill()
    psutil.wait_procs(both, PATIENCE_S)  # a killed one holds the task's lock for some milliseconds


def tear(path: Path, text: str) -> None:
    assert path.exists()
    path.write_text(text)


@BOTH
@pytest.mark.parametrize("torn", [HALF, TWO, NONE])
def test_a_task_with_a_torn_state_is_lost_and_the_others_go_on(local: Any, torn: str) -> None:
    local.engine.ensure(local.task("other"))
    local.changes.running("other")
    local.engine.ensure(local.task("t"))
    killed(local, "t")
    tear(local.folder("t") / wire.STATE_FILE, torn)
    assert "other" in [one.name for one in running_tasks(local.settings)]
    local.reopen(carrier=local.finder.carrier)
    assert local.engine.owners() == {"t": "/owner/t", "other": "/owner/other"}
    lost = local.changes.ended("t")
    assert lost.outcome is Outcome.LOST and lost.name == "t" and "vanished" in lost.error
    local.finish("other", 0)
    assert local.changes.ended("other").exit_code == 0


def test_what_a_torn_task_has_left_does_not_keep_the_next_engine_from_starting(local: Any) -> None:
    local.engine.ensure(local.task("t"))
    killed(local, "t")
    for name in (wire.STATE_FILE, wire.TASK_FILE, "fence"):
        tear(local.folder("t") / name, HALF)
    local.folder("t").rename(local.settings.tasks / TRASH / "t.0123456789ab")
    local.reopen()
    assert local.engine.owners() == {}


def test_a_started_task_with_nothing_readable_is_lost(local: Any) -> None:
    local.engine.ensure(local.task("t"))
    killed(local, "t")
    for name in (wire.STATE_FILE, wire.TASK_FILE, "fence"):
        tear(local.folder("t") / name, HALF)
    local.reopen()
    assert local.engine.observe("t").outcome is Outcome.LOST
    assert local.engine.owners() == {}
    local.engine.remove("t")
    assert local.engine.observe("t") is None


def test_what_is_to_be_brought_for_a_torn_task_is_asked_for_again(carried: Any) -> None:
    """It has not begun: whoever wants it says what it is once more."""
    (carried.root / "in").write_text("a")
    task = carried.task("t", command="true", inputs=[InputSpec("d", "uri_file", source=ref(carried.root / "in"))])
    hanging = carried.carrier.hangs("fetch")
    carried.engine.ensure(task)
    assert hanging.wait(20)
    old = carried.carrier
    carried.engine.close()
    tear(carried.folder("t") / wire.TASK_FILE, HALF)
    carried.reopen(carrier=type(old)())
    old.heal()
    carried.carrier = carried.finder.carrier
    assert carried.engine.observe("t") is None
    carried.engine.ensure(task)
    state = carried.changes.ended("t", 40)
    assert (state.phase, state.exit_code) == (Phase.EXITED, 0)


def test_a_carried_task_that_had_begun_ends_though_nobody_knows_what_it_was(carried: Any) -> None:
    carried.engine.ensure(carried.task("t"))
    killed(carried, "t")
    tear(carried.folder("t") / wire.TASK_FILE, HALF)
    carried.reopen()
    assert carried.engine.observe("t").outcome is Outcome.LOST


@pytest.mark.parametrize("torn", [HALF, NONE])
def test_a_carried_task_that_ended_and_cannot_be_published_is_lost_with_the_reason(carried: Any, torn: str) -> None:
    hanging = carried.carrier.hangs("store")
    carried.engine.ensure(
        carried.task("t", command="echo 1 > outputs/a.txt", artifacts=ref(carried.root / "artifacts"))
    )
    assert hanging.wait(PATIENCE_S)
    tear(carried.folder("t") / wire.TASK_FILE, torn)
    old = carried.carrier
    carried.engine.close()
    carried.reopen(carrier=type(old)())
    old.heal()
    lost = carried.engine.observe("t")
    assert lost.outcome is Outcome.LOST and "cannot be read" in lost.error
    carried.engine.remove("t")
    assert carried.engine.observe("t") is None
