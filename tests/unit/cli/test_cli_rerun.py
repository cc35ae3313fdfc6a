"""`smalt rerun`: what the platform says of a job is submitted, unless what it was made from is another thing now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from smalt.cli.commands import rerun
from smalt.cli.root import CliError


class Answers:
    """A platform with the job `first`, and one more, `taken`; `sent`: what is put where, with which query."""

    def __init__(self, **properties: Any) -> None:
        self.properties, self.changes = properties, list[dict[str, Any]]()
        self.sent = dict[str, Any]()

    def has_job(self, name: str) -> bool:
        return name in ("first", "taken")

    def get(self, path: str, **_query: str) -> dict[str, Any]:
        assert path == "jobs/first/again"
        return {"job": "first", "properties": self.properties, "changes": self.changes}

    def send(self, method: str, path: str, body: dict[str, Any], **query: str) -> None:
        assert method == "PUT"
        self.sent[path] = (body["properties"], query)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    found = Answers(jobType="Pipeline", jobs={}, settings={"default_compute": "cpu"})

    @contextmanager
    def opened(*_: object) -> Iterator[Answers]:
        yield found

    monkeypatch.setattr(rerun, "opened", opened)
    return found


def run(changed_ok: bool = False, name: str = "second", force: bool = False) -> int:
    return rerun.run(None, "first", "workspace", name, changed_ok, force)


def test_the_new_job_is_the_first_ones_again(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert answers.sent == {"jobs/second": (answers.properties, {"again": "first"})}
    assert capsys.readouterr().out == "second\n"
    with pytest.raises(CliError, match="a job 'taken' already"):
        run(name="taken")
    assert list(answers.sent) == ["jobs/second"]


def test_steps_that_could_be_reused_run_again_if_that_is_asked_for(answers: Answers) -> None:
    assert run(force=True) == 0
    sent, _ = answers.sent["jobs/second"]
    assert sent["settings"] == {"default_compute": "cpu", "force_rerun": True}
    answers.properties = {"jobType": "Command"}
    with pytest.raises(CliError, match="no steps"):
        run(force=True)


def test_why_nothing_is_submitted(answers: Answers) -> None:
    answers.changes += [
        {"step": "", "job": "first", "input": "a", "moved": ["x", "y"], "added": [], "removed": ["1"], "changed": ["2"]},
        {"step": "deep/train", "job": "j", "input": "b", "unknown": True},
        {"step": "deep/train", "job": "j", "environment": "azureml:e:1", "another": True},
    ]  # fmt: skip
    with pytest.raises(CliError) as refused:
        run()
    said = str(refused.value)
    assert "input 'a': it led to x and leads to y now, removed 1, changed 2; step 'deep/train', input 'b': what" in said
    assert "step 'deep/train', environment azureml:e:1: it was made anew since" in said and "--changed-ok" in said
    assert not answers.sent
    assert run(changed_ok=True) == 0
    answers.sent.clear()
    answers.changes += [{"step": "s", "job": "k", "component": "C", "gone": "there is no component 'C'"}]
    with pytest.raises(CliError, match="not there any more: step 's', component C: there is no component 'C'"):
        run(changed_ok=True)
    assert not answers.sent


def test_of_many_changes_some_are_told(answers: Answers) -> None:
    answers.changes += [{"step": f"s{one}", "job": "k", "input": "a", "unknown": True} for one in range(12)]
    with pytest.raises(CliError, match=r"step 's9', input 'a': .*; and 2 more$"):
        run()
