"""The steps of `settings.on_init` and `settings.on_finalize`: before all others, and after them, however they ended."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.jobs import JOBS, cluster, status
from fakes.pipelines import child, component, data, end, look, node, run_to_the_end, running, submit
from fakes.platform import Harness
from smalt.kinds.jobs.model import TYPES

IN = "${{parent.inputs.raw}}"
BOTH = {"on_init": "open", "on_finalize": "close"}


def framed(harness: Harness, name: str = "pipe", settings: Any = BOTH, jobs: Any = None, **properties: Any) -> Any:
    """open → one → two → close."""
    component(harness, "part")
    steps = {
        "two": node("azureml:part:1", data="${{parent.jobs.one.outputs.made}}"),
        "close": node("azureml:part:1", data=IN),
        "one": node("azureml:part:1", data=IN),
        "open": node("azureml:part:1", data=IN),
        **(jobs or {}),
    }
    return submit(harness, steps, name, **{"inputs": {"raw": data()}, "settings": settings, **properties})


def test_the_first_is_before_all_and_the_last_after_them(harness: Harness) -> None:
    assert framed(harness).status_code == 201
    assert run_to_the_end(harness) == ["open", "one", "two", "close"]
    assert status(harness, "pipe") == "Completed"


def test_they_run_again_where_the_others_are_reused(harness: Harness) -> None:
    framed(harness)
    run_to_the_end(harness)
    framed(harness, "again")
    assert run_to_the_end(harness) == ["open", "close"]


def test_the_last_runs_after_a_failure_and_the_pipeline_stays_failed(harness: Harness) -> None:
    framed(harness, jobs={"side": node("azureml:part:1", data=IN, rate="2")})
    end(harness, "open")
    end(harness, "one", exit_code=3)
    assert child(harness, "side")["status"] == "Canceled"
    assert set(running(harness)) == {"close"} and status(harness, "pipe") == "Running"
    end(harness, "close")
    row = harness.row(f"{JOBS}/pipe")
    assert row.state == "Failed" and "'one'" in row.status["error"]["message"]
    assert child(harness, "two") is None


def test_nothing_but_the_last_runs_where_the_first_fails(harness: Harness) -> None:
    framed(harness)
    end(harness, "open", exit_code=1)
    end(harness, "close")
    assert status(harness, "pipe") == "Failed" and child(harness, "one") is None


def test_the_last_runs_after_a_cancel(harness: Harness) -> None:
    framed(harness)
    end(harness, "open")
    assert harness.send("POST", f"{JOBS}/pipe/cancel").status_code == 202
    look(harness)
    assert child(harness, "one")["status"] == "Canceled"
    assert set(running(harness)) == {"close"} and status(harness, "pipe") == "CancelRequested"
    end(harness, "close")
    assert status(harness, "pipe") == "Canceled" and child(harness, "close")["status"] == "Completed"


def test_a_pipeline_whose_last_step_fails_has_failed(harness: Harness) -> None:
    framed(harness)
    for step in ("open", "one", "two"):
        end(harness, step)
    assert status(harness, "pipe") == "Finalizing"
    end(harness, "close", exit_code=4)
    row = harness.row(f"{JOBS}/pipe")
    assert row.state == "Failed" and "'close'" in row.status["error"]["message"]


def test_a_cancel_while_the_last_runs_ends_it(harness: Harness) -> None:
    framed(harness)
    for step in ("open", "one", "two"):
        end(harness, step)
    harness.send("POST", f"{JOBS}/pipe/cancel")
    look(harness)
    assert child(harness, "close")["status"] == "Canceled"
    assert status(harness, "pipe") == "Completed", "that was decided before"


def test_a_last_step_that_is_refused_by_then_does_not_keep_the_pipeline(harness: Harness) -> None:
    pool = cluster(harness, "pool")
    framed(harness, jobs={"close": node("azureml:part:1", data=IN, more={"computeId": "pool"})})
    harness.settle()
    assert harness.send("DELETE", pool).status_code in (200, 202, 204)
    harness.settle()
    for step in ("open", "one", "two"):
        end(harness, step)
    row = harness.row(f"{JOBS}/pipe")
    assert row.state == "Failed" and "'close'" in row.status["error"]["message"], row.status


def test_a_pass_that_is_killed_submits_the_last_once(harness: Harness) -> None:
    """Each claim is stepped twice, and the first result is lost."""
    framed(harness)
    for _ in range(40):
        for row in harness.loop.claim(dict.fromkeys(harness.loop._lanes, 100)):  # pyright: ignore[reportPrivateUsage]
            if row.name == "pipe" and not row.deleting:
                TYPES["Pipeline"].step(harness.platform, row)
            harness.loop.step(row)
        for task in list(running(harness).values()):
            harness.engine.finish(task, 0)
        harness.clock.pass_(0.5)
    assert status(harness, "pipe") == "Completed"
    assert len(harness.engine.starts) == len(set(harness.engine.starts)) == 4


WRONG: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"on_init": "opeen"}, {}, "on_init", "Did you mean 'open'"),
    ({"on_finalize": "two"}, {}, "on_finalize", "needs step 'one'"),
    ({"on_finalize": "one"}, {}, "on_finalize", "is needed by step 'two'"),
    ({"on_init": "open", "on_finalize": "open"}, {}, "on_finalize", "on_init already"),
    ({"on_init": "fork"}, {"fork": {"type": "if_else", "condition": "true", "true_block": "${{parent.jobs.close}}"}},
     "on_init", "no job"),
    ({"on_finalize": "close"}, {"fork": {"type": "if_else", "condition": "true", "true_block": "${{parent.jobs.close}}"}},
     "on_finalize", "ruled by 'fork'"),
    (BOTH, {"one": None, "two": None}, "on_init", "no other step"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "jobs", "field", "words"), WRONG)
def test_what_cannot_stand_by_itself_is_refused(
    harness: Harness, settings: dict[str, Any], jobs: dict[str, Any], field: str, words: str
) -> None:
    answer = framed(harness, settings=settings, jobs=jobs)
    error = answer.json()["error"]
    assert (answer.status_code, error["target"]) == (400, f"properties.settings.{field}"), error
    assert words in error["message"]
