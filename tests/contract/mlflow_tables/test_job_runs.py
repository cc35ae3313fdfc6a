"""A job and its run are one: ARM's API and run history on one side, MLflow's tables on the other, with what its clients write there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from fakes.examples import CURATED
from fakes.platform import WORKSPACE
from fakes.run_site import HOME, JOBS, Site
from smalt.arm.ports import NotReady
from smalt.kinds.jobs import job_runs
from smalt.settings import ARTIFACT_CONTAINER
from smalt.store import resources
from smalt.tracking.database import schema
from smalt.tracking.dataplane import history


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    made = Site(tmp_path, database_url)
    yield made
    made.close()


def test_a_run_made_outside_of_a_job_is_a_job(site: Site) -> None:
    site.mlflow_creates("r1")
    site.mlflow_tags("r1", **{"team": "x", "mlflow.note.content": "By hand", "mlflow.source.name": "nb.ipynb"})
    job = site.job("r1")
    assert (job["jobType"], job["status"], job["displayName"]) == ("Command", "Running", "name of r1")
    assert (job["tags"], job["description"], job["experimentName"]) == ({"team": "x"}, "By hand", "Default")
    assert site.listed() == ["r1"]
    site.mlflow_updates("r1", status="FINISHED", end_time=1_800_000_001_000)
    assert site.job("r1")["status"] == "Completed"
    details = site.ask("GET", f"/history/v1.0{WORKSPACE}/runs/r1/details")
    assert (details["status"], details["endTimeUtc"]) == ("Completed", "2027-01-15T08:00:01.000000Z")
    site.mlflow_updates("r1", status="FAILED")
    assert site.job("r1")["status"] == "Failed"


def test_runs_made_before_or_while_nobody_listened_become_jobs(site: Site) -> None:
    for number in range(120):
        site.mlflow_creates(f"r{number}", heard=False, start_time=0 if number == 7 else -5 if number == 8 else 2**62)
    with site.harness.database.write() as connection:
        job_runs.watch(connection, site.harness.clock())
    site.harness.settle()
    assert len(site.listed("?$top=1000")) == 120
    assert site.tracking.changed_runs(1) == []


def test_nested_runs_are_children_of_jobs_and_of_runs(site: Site) -> None:
    site.submit("train")
    site.mlflow_creates("child", parent="train")
    site.mlflow_creates("grandchild", parent="child")
    site.mlflow_creates("outside")
    site.mlflow_creates("early", parent="late", heard=False)
    site.mlflow_creates("late", heard=False)
    site.heard("early", "late")
    assert set(site.listed()) == {"outside", "late", "train"}
    children = lambda name: site.ask("GET", f"/history/v1.0{WORKSPACE}/runs/{name}/children")["value"]  # noqa: E731
    assert [(one["runId"], one["parentRunId"], one["rootRunId"]) for one in children("train")] == [
        ("child", "train", "train")
    ]
    assert [(one["runId"], one["parentRunId"], one["rootRunId"]) for one in children("child")] == [
        ("grandchild", "child", "train")
    ]
    assert [one["runId"] for one in children("late")] == ["early"]
    assert site.job("grandchild")["displayName"] == "name of grandchild"
    whole = site.ask("POST", f"/history/v1.0{WORKSPACE}/rundata", {"runId": "grandchild"})["runMetadata"]
    assert (whole["parentRunId"], whole["rootRunId"]) == ("child", "train")


def test_all_children_come_at_once_or_in_pages_the_newest_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.submit("train")
    for number in range(120):
        site.mlflow_creates(f"c{number:03}", parent="train", heard=False, start_time=1_800_000_000_000 + number)
    while site.runs.take_over_all():
        pass
    newest = [f"c{number:03}" for number in range(119, -1, -1)]
    children = f"/history/v1.0{WORKSPACE}/runs/train/children"

    def seen(url: str) -> list[list[str]]:
        pages: list[list[str]] = []
        while url:
            page = site.ask("GET", url)
            pages.append([one["runId"] for one in page["value"]])
            url = page.get("nextLink", "").removeprefix(site.harness.settings.url)
        return pages

    assert seen(children) == [newest]
    assert seen(f"{children}?$top=100") == [newest[:100]]
    monkeypatch.setattr(history, "CHILDREN_MOST", 50)
    assert seen(children) == [newest[:50], newest[50:100], newest[100:]]
    assert site.listed() == ["train"]


def test_runs_that_are_their_own_ancestors_are_still_found(site: Site) -> None:
    site.mlflow_creates("a", parent="a")
    site.mlflow_creates("b")
    site.mlflow_creates("c", parent="b")
    site.mlflow_tags("b", **{"mlflow.parentRunId": "c"})
    assert set(site.listed()) == {"a", "b"}
    site.mlflow_creates("d", parent="nowhere")
    assert "d" in site.listed()


def test_what_mlflows_clients_say_of_a_job_is_the_jobs(site: Site) -> None:
    site.submit("train", displayName="First", tags={"team": "x", "a": "b"}, properties={"p": "1"}, description="Old")
    run = site.run("train")
    assert run.tags["mlflow.note.content"] == "Old" and (run.tags["team"], run.tags["p"]) == ("x", "1")
    site.mlflow_updates("train", name="Second")
    site.mlflow_tags("train", **{"team": "y", "a": None, "new": "1", "mlflow.note.content": "New", "mlflow.user": "z"})
    job = site.job("train")
    assert (job["displayName"], job["description"], job["properties"]) == ("Second", "New", {"p": "1"})
    assert job["tags"] == {"team": "y", "new": "1"}
    assert site.listed("?tag=team=y") == ["train"] and site.listed("?tag=team=x") == []
    site.mlflow_tags("train", **{"mlflow.note.content": None})
    assert not site.job("train").get("description")


def test_an_update_writes_only_what_it_changes(site: Site) -> None:
    site.submit("train", displayName="First", tags={"team": "x", "a": "b"})
    site.mlflow_updates("train", name="Of MLflow", heard=False)  # not heard of yet
    site.mlflow_tags("train", heard=False, team="of MLflow")
    site.patch("train", displayName="First", tags={"team": "x", "a": "c"}, description="Said")
    run = site.run("train")
    assert (run.display_name, run.tags["team"], run.tags["a"]) == ("Of MLflow", "of MLflow", "c")
    assert run.tags["mlflow.note.content"] == "Said"
    site.heard("train")
    job = site.job("train")
    assert (job["displayName"], job["tags"]) == ("Of MLflow", {"team": "of MLflow", "a": "c"})
    document = site.harness.get(f"{JOBS}/train").json()
    document["properties"]["tags"] = {"b": "1"}
    assert site.harness.put(f"{JOBS}/train", document).status_code == 200
    run = site.run("train")
    assert ("a" in run.tags, "team" in run.tags, run.tags["b"], run.display_name) == (False, False, "1", "Of MLflow")
    assert run.tags["mlflow.user"] == "ada"


def test_what_mlflow_cannot_hear_now_it_hears_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.submit("train", displayName="First", tags={"a": "b"})
    site.end("train")

    def away(*_: Any) -> None:
        raise NotReady("MLflow is upgrading its database; try again soon.")

    with monkeypatch.context() as patched:
        patched.setattr(site.tracking, "change_run", away)
        site.patch("train", displayName="Second", tags={"c": "d"}, hidden=True)
        assert site.job("train")["displayName"] == "Second"
    site.mlflow_tags("train", e="f")  # heard of before the name could be told
    assert (site.job("train")["displayName"], site.job("train")["isArchived"]) == ("Second", True)
    site.harness.clock.pass_(60)
    site.harness.settle()
    run = site.run("train")
    assert (run.display_name, run.tags["c"], run.tags["e"], run.hidden) == ("Second", "d", "f", True)
    assert "untold" not in site.harness.row(f"{JOBS}/train").spec["smalt"]
    assert site.job("train")["status"] == "Completed"


def test_a_job_that_is_described_before_it_has_a_run_keeps_it(site: Site) -> None:
    site.harness.environments.build_at_once = False
    real = site.tracking.ensure_run

    def late(run: Any) -> None:
        site.patch("train", displayName="Meanwhile", tags={"late": "1"})
        real(run)

    site.tracking.ensure_run = late  # type: ignore[method-assign]
    site.submit("train", displayName="First", tags={"a": "b"})
    run = site.run("train")
    assert (run.display_name, run.tags["late"], run.tags["a"]) == ("Meanwhile", "1", "b")
    site.heard("train")
    assert (site.job("train")["displayName"], site.job("train")["tags"]) == ("Meanwhile", {"a": "b", "late": "1"})


def test_deleted_and_restored_is_archived_and_restored(site: Site) -> None:
    site.submit("train")
    site.end("train")
    site.mlflow_creates("r1", status="FINISHED")
    for name in ("train", "r1"):
        site.mlflow_updates(name, lifecycle_stage="deleted")
        assert name not in site.listed() and name in site.listed("?listViewType=ArchivedOnly")
        assert site.job(name)["isArchived"] is True
        site.mlflow_updates(name, lifecycle_stage="active")
        assert name in site.listed()
        site.patch(name, hidden=True)
        assert site.run(name).hidden and name not in site.listed()
        site.patch(name, hidden=False)
        assert not site.run(name).hidden and name in site.listed()


def test_what_is_archived_while_it_runs_is_hidden_in_mlflow_when_it_ends(site: Site) -> None:
    site.submit("train")
    site.mlflow_creates("r1")
    for name in ("train", "r1"):
        site.patch(name, hidden=True)
        site.harness.settle()
        assert not site.run(name).hidden and name not in site.listed()
        site.mlflow_tags(name, logged="on")
        assert site.job(name)["isArchived"] is True and site.job(name)["tags"]["logged"] == "on"
    site.end("train")
    site.mlflow_updates("r1", status="FINISHED", end_time=5)
    assert site.run("train").hidden and site.run("r1").hidden
    site.heard("train", "r1")
    assert site.job("train")["isArchived"] is True and site.job("r1")["isArchived"] is True


def test_the_jobs_end_decides(site: Site) -> None:
    site.submit("train")
    site.mlflow_updates("train", status="FAILED", end_time=5)  # the script's own mlflow.end_run("FAILED")
    assert site.job("train")["status"] in ("Running", "Starting")
    site.end("train")
    assert (site.job("train")["status"], site.run("train").status) == ("Completed", "FINISHED")
    for said in ("RUNNING", "KILLED", "FAILED"):  # somebody logs to it afterwards
        site.mlflow_updates("train", status=said, end_time=None)
        assert (site.job("train")["status"], site.run("train").status) == ("Completed", "FINISHED")
        assert site.run("train").ended_at > 0


def test_cancelling_a_run_ends_it_killed(site: Site) -> None:
    site.mlflow_creates("r1")
    assert site.harness.send("POST", f"{JOBS}/r1/cancel").status_code == 200
    assert (site.job("r1")["status"], site.run("r1").status) == ("Canceled", "KILLED")
    site.mlflow_creates("r2", status="FINISHED")
    assert site.harness.send("POST", f"{JOBS}/r2/cancel").status_code == 200
    assert (site.job("r2")["status"], site.run("r2").status) == ("Completed", "FINISHED")


def test_a_run_can_be_described_by_a_put_but_not_made_another_job(site: Site) -> None:
    site.mlflow_creates("r1", status="FINISHED")
    document = site.harness.get(f"{JOBS}/r1").json()
    document["properties"]["tags"] = {"a": "1"}
    document["properties"]["isArchived"] = True
    assert site.harness.put(f"{JOBS}/r1", document).status_code == 200
    assert site.run("r1").tags["a"] == "1" and site.run("r1").hidden
    other = {"jobType": "Command", "command": "python t.py", "environmentId": CURATED}
    assert site.harness.put(f"{JOBS}/r1", {"properties": other}).status_code == 409
    assert site.job("r1")["status"] == "Completed"


def test_a_job_that_is_deleted_takes_its_run_and_the_runs_below_with_it(site: Site) -> None:
    site.submit("train")
    site.end("train")
    site.mlflow_creates("child", parent="train", status="FINISHED")
    site.mlflow_creates("other", status="FINISHED")
    account = site.harness.row(WORKSPACE).status["account"]
    folder = site.harness.blobs.path(account, ARTIFACT_CONTAINER, "ExperimentRun/dcid.child")
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    assert site.harness.send("DELETE", f"{JOBS}/train").status_code == 202
    site.harness.settle()
    assert site.listed() == ["other"]
    assert not (folder / "a.txt").exists()
    while site.runs.take_over_all():
        pass
    assert site.listed() == ["other"] and site.tracking.run(HOME.key, "train") is None
    site.submit("train", displayName="Again")
    assert site.run("train").display_name == "Again"


def test_a_renamed_experiment_is_the_experiment_of_its_jobs(site: Site) -> None:
    site.submit("train", experimentName="e1")
    with site.tracking.database.write() as connection:
        table = schema.experiments
        connection.execute(update(table).where(table.c.name == "e1").values(name="e2"))
    site.heard("train")
    assert site.job("train")["experimentName"] == "e2"


def test_a_job_of_an_older_version_tells_its_run_what_it_lacks(site: Site) -> None:
    site.submit("train", displayName="First", tags={"a": "b"}, description="Said")
    site.end("train")
    site.mlflow_tags("train", heard=False, a=None, c="d", **{"mlflow.note.content": None})
    site.mlflow_updates("train", heard=False, name="Renamed")
    with site.harness.database.write() as connection:
        row = site.harness.row(f"{JOBS}/train")
        spec = {**row.spec, "smalt": {key: one for key, one in row.spec["smalt"].items() if key != "alike"}}
        resources.describe(connection, row, spec, archived=False, now=1.0, by="x")
    site.heard("train")
    job, run = site.job("train"), site.run("train")
    assert (job["displayName"], job["description"], job["tags"]) == ("Renamed", "Said", {"a": "b", "c": "d"})
    assert (run.tags["a"], run.tags["mlflow.note.content"]) == ("b", "Said")
