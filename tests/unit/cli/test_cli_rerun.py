"""`smalt rerun`: the new job says all that the first one said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from smalt.cli.commands import rerun
from smalt.cli.root import CliError
from smalt.kinds.jobs.command import CommandProperties
from smalt.kinds.jobs.sweep import SweepProperties

# Of the first job alone: an archived one is not archived again, and nobody waits for its shell.
OWN = {"isArchived", "services"}


class Answers:
    """A platform with one job, `first`; `sent`: what is put there."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self._properties, self.sent = properties, dict[str, Any]()

    def has_job(self, name: str) -> bool:
        return name in ("first", "taken")

    def job(self, name: str) -> dict[str, Any]:
        assert name == "first"
        return self._properties

    def get(self, _path: str, **_options: str) -> dict[str, Any]:
        return {"changes": {}, "environment": {"key": "k"}}

    def send(self, _method: str, path: str, body: dict[str, Any]) -> None:
        self.sent[path] = body["properties"]


def test_everything_that_a_command_job_says_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {str(one.alias) for one in CommandProperties.model_fields.values()}
    assert {"parallel", "codeId", *OWN} <= fields
    said = {name: {"x": name} for name in fields} | {"jobType": "Command", "status": "Completed"}
    answers = Answers(said)

    @contextmanager
    def opened(*_: object) -> Iterator[Answers]:
        yield answers

    monkeypatch.setattr(rerun, "opened", opened)
    assert rerun.run(None, "first", "workspace", "second", changed_ok=False) == 0
    with pytest.raises(CliError, match="a job 'taken' already"):
        rerun.run(None, "first", "workspace", "taken", changed_ok=False)
    assert list(answers.sent) == ["jobs/second"]
    sent = answers.sent["jobs/second"]
    assert set(sent) == fields - OWN
    assert sent["parallel"] == said["parallel"] and sent["properties"]["smalt.rerun_of"] == "first"


def test_why_nothing_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers({"jobType": "Command", "command": "c"})
    changes: dict[str, Any] = {}

    @contextmanager
    def opened(*_: object) -> Iterator[Answers]:
        yield answers

    monkeypatch.setattr(rerun, "opened", opened)
    monkeypatch.setattr(answers, "get", lambda *_, **__: {"changes": changes, "environment": {"key": "k"}})
    changes |= {
        "a": {"moved": ["x", "y"], "added": [], "removed": ["1"], "changed": ["2", "3"]},
        "b": {"unknown": True},
    }
    with pytest.raises(
        CliError, match="input 'a': it led to x and leads to y now, removed 1, changed 2 3; input 'b': what"
    ):
        rerun.run(None, "first", "workspace", "second", changed_ok=False)
    assert not answers.sent
    assert rerun.run(None, "first", "workspace", "second", changed_ok=True) == 0
    changes["c"] = {"gone": "there is no data asset 'raw'"}
    with pytest.raises(
        CliError, match="cannot be run again, an input is not there any more: input 'c': there is no data"
    ):
        rerun.run(None, "first", "workspace", "second", changed_ok=True)


def test_a_sweep_draws_the_same_values_and_its_first_trial_says_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {str(one.alias) for one in SweepProperties.model_fields.values()}
    said = {name: {"x": name} for name in fields} | {"jobType": "Sweep"}
    answers = Answers(said)
    read: dict[str, Any] = {"b": {"added": ["2"]}}

    def get(path: str, **_: str) -> dict[str, Any]:
        changes = read if path.startswith("jobs/first_0/") else {"b": {"unknown": True}}
        return {"changes": changes, "environment": {"key": "k"}, "seed": 7}

    @contextmanager
    def opened(*_: object) -> Iterator[Answers]:
        yield answers

    monkeypatch.setattr(rerun, "opened", opened)
    monkeypatch.setattr(answers, "get", get)
    monkeypatch.setattr(answers, "has_job", lambda name: name in ("first", "first_0"))
    with pytest.raises(CliError, match="input 'b': added 2"):
        rerun.run(None, "first", "workspace", "second", changed_ok=False)
    read.clear()
    assert rerun.run(None, "first", "workspace", "second", changed_ok=False) == 0
    sent = answers.sent["jobs/second"]
    assert set(sent) == fields - OWN
    assert sent["samplingAlgorithm"] == {"x": "samplingAlgorithm", "seed": 7}


def test_a_pipeline_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(*_: object) -> Iterator[Answers]:
        yield Answers({"jobType": "Pipeline", "jobs": {}})

    monkeypatch.setattr(rerun, "opened", opened)
    with pytest.raises(CliError, match="no command job and no sweep"):
        rerun.run(None, "first", "workspace", "second", changed_ok=False)
