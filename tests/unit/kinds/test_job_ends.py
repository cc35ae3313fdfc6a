"""How a job ends is decided once: what a client changes in that moment is kept, and changes nothing of the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fakes.jobs import JOBS, cluster, counts, status, submit
from fakes.platform import WORKSPACE, Harness

URL = f"{JOBS}/train-1"
RUN = (WORKSPACE.lower(), "train-1")


def tag(harness: Harness) -> None:
    body = harness.get(URL).json()
    body["properties"]["tags"] = {"reviewed": "yes"}
    assert harness.put(URL, body).status_code == 200


def archive(harness: Harness) -> None:
    body = harness.get(URL).json()
    body["properties"]["isArchived"] = True
    assert harness.put(URL, body).status_code == 200


def patch(harness: Harness) -> None:
    assert harness.send("PATCH", URL, {"properties": {"description": "seen"}}).status_code == 200


def cancel(harness: Harness) -> None:
    assert harness.send("POST", f"{URL}/cancel").status_code in (200, 202)


def running(harness: Harness, **properties: Any) -> str:
    """The name of the job's one task, which runs."""
    outputs = {"model": {"jobOutputType": "uri_folder", "assetName": "churn-scores"}}
    assert submit(harness, computeId=cluster(harness), outputs=outputs, **properties).status_code == 201
    harness.settle()
    (name,) = harness.engine.starts
    harness.engine.start(name)
    harness.settle()
    return name


def during_the_last_step(harness: Harness, act: Callable[[Harness], None]) -> None:
    """`act` happens while MLflow is told that the run has ended, once."""
    real = harness.tracking.end_run

    def end_run(*arguments: Any) -> None:
        real(*arguments)
        harness.tracking.end_run = real  # type: ignore[method-assign]
        act(harness)

    harness.tracking.end_run = end_run  # type: ignore[method-assign]


def before_the_end_is_written(harness: Harness, act: Callable[[Harness], None]) -> None:
    """`act` happens while the step looks at the tasks that have ended, once."""
    real = harness.engine.observe

    def observe(name: str) -> Any:
        found = real(name)
        harness.engine.observe = real  # type: ignore[method-assign]
        act(harness)
        return found

    harness.engine.observe = observe  # type: ignore[method-assign]


def assets(harness: Harness) -> int:
    found = harness.get(f"{WORKSPACE}/data/churn-scores/versions")
    return len(found.json()["value"]) if found.status_code == 200 else 0


@pytest.mark.parametrize("when", [during_the_last_step, before_the_end_is_written])
@pytest.mark.parametrize("act", [tag, archive, patch, cancel])
@pytest.mark.parametrize(("code", "end", "run"), [(0, "Completed", "FINISHED"), (3, "Failed", "FAILED")])
def test_a_change_in_the_last_moment(harness: Harness, when: Any, act: Any, code: int, end: str, run: str) -> None:
    name = running(harness)
    when(harness, act)
    harness.engine.finish(name, code, error="" if code == 0 else "exit code 3")
    harness.settle()
    assert harness.engine.starts == [name], "it ran again"
    assert status(harness) == end and harness.tracking.runs[RUN]["status"] == run
    assert assets(harness) == (1 if code == 0 else 0)
    assert counts(harness) == (0, 1) and harness.row(URL).due_at is None
    row = harness.row(URL)
    assert (row.status.get("error") is None) == (code == 0)
    if act is tag:
        assert row.properties["tags"] == {"reviewed": "yes"}
    if act is archive:
        assert row.archived


@pytest.mark.parametrize("when", [during_the_last_step, before_the_end_is_written])
def test_a_delete_in_the_last_moment_leaves_nothing(harness: Harness, when: Any) -> None:
    name = running(harness)
    when(harness, lambda harness: harness.send("DELETE", URL))
    harness.engine.finish(name, 0)
    harness.settle()
    assert harness.get(URL).status_code == 404 and harness.engine.starts == [name]
    assert assets(harness) == 0 and counts(harness) == (0, 1)


def test_a_cancel_of_what_still_runs_cancels(harness: Harness) -> None:
    running(harness)
    cancel(harness)
    harness.settle()
    assert status(harness) == "Canceled" and harness.tracking.runs[RUN]["status"] == "KILLED" and assets(harness) == 0


def test_the_operation_of_a_cancel_that_came_too_late_ends(harness: Harness) -> None:
    name = running(harness)
    answers: list[Any] = []
    during_the_last_step(harness, lambda harness: answers.append(harness.send("POST", f"{URL}/cancel")))
    harness.engine.finish(name, 0)
    harness.settle()
    operation = answers[0].headers["azure-asyncoperation"]
    assert harness.get(operation).json()["status"] == "Succeeded"


def test_deleting_an_ended_job_says_nothing_new_of_its_run(harness: Harness) -> None:
    harness.engine.finish(running(harness), 0)
    harness.settle()
    said: list[str] = []
    harness.tracking.end_run = lambda *arguments: said.append(arguments[2])  # type: ignore[method-assign]
    harness.send("DELETE", URL)
    harness.settle()
    assert set(said) <= {"FINISHED"} and RUN not in harness.tracking.runs


@pytest.mark.parametrize("deleted", [False, True])
def test_a_run_that_was_begun_in_a_step_that_counts_for_nothing_ends_too(harness: Harness, deleted: bool) -> None:
    """It is made, and then the step is dropped: the job is canceled meanwhile. A kill in that moment is the same."""
    real = harness.tracking.ensure_run

    def ensure_run(run: Any) -> None:
        real(run)
        harness.tracking.ensure_run = real  # type: ignore[method-assign]
        cancel(harness) if not deleted else harness.send("DELETE", URL)

    harness.tracking.ensure_run = ensure_run  # type: ignore[method-assign]
    submit(harness, "train-1")
    harness.settle()
    assert harness.engine.starts == []
    if deleted:
        assert harness.get(URL).status_code == 404 and RUN not in harness.tracking.runs
    else:
        assert status(harness) == "Canceled" and harness.tracking.runs[RUN]["status"] == "KILLED"


def test_one_that_is_held_runs_for_clients_and_says_that_it_has_failed(harness: Harness) -> None:
    name = running(harness, properties={"smalt.hold": "PT1H"})
    why = "The command ended with exit code 3."
    harness.engine.hold(name, 1_900_000_000.0, why)
    harness.settle()
    shown = {"smalt.hold": "PT1H", "smalt.held_until": "2030-03-17T17:46:40.000000Z", "smalt.held_why": why}
    document = harness.get(URL).json()
    assert (document["properties"]["status"], document["properties"]["properties"]) == ("Running", shown)
    assert harness.get(JOBS).json()["value"][0]["properties"]["properties"] == shown
    last = harness.get(f"{URL}/events").json()["value"][-1]
    assert last["reason"] == f"Held until 2030-03-17T17:46:40Z: {why}"
    assert harness.put(f"{JOBS}/again", {"properties": document["properties"]}).status_code == 201
    assert harness.row(f"{JOBS}/again").properties["properties"] == {"smalt.hold": "PT1H"}
    cancel(harness)
    assert "smalt.held_until" not in harness.get(URL).json()["properties"]["properties"], "it is being ended"
    harness.engine.finish(name, exit_code=3, error=why)
    harness.settle()
    assert status(harness) == "Failed" and "held" not in harness.row(URL).status
