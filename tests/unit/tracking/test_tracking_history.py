"""Run history on a platform with fakes: what clients may change, and what they are told of logs and outputs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.examples import CURATED
from fakes.platform import OWNER, WORKSPACE, Harness
from smalt.arm.ids import ResourceId
from smalt.settings import ARTIFACT_CONTAINER
from smalt.tracking.dataplane import history
from smalt.tracking.dataplane.history import HistoryApp

RUN = f"/history/v1.0{WORKSPACE}/runs/train-1"
RESOLVE = f"/data/v1.0{WORKSPACE}/dataversion/batchGetResolvedUris"

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBTdG4Qd9mYw8nS5Yk6l7p0c3rj1f1QpVbW0n2xkq9uZ ada"


class Site:
    """A platform with one job, `train-1`, and its run history."""

    def __init__(self, root: Path) -> None:
        self.harness = Harness(root)
        self.app = HistoryApp(self.harness.platform, lambda scope: OWNER, lambda *_: None)
        job = {
            "jobType": "Command",
            "command": "python t.py",
            "environmentId": CURATED,
            "tags": {"team": "x", "a": "b"},
        }
        assert self.harness.put(f"{WORKSPACE}/jobs/train-1", {"properties": job}).status_code == 201
        self.harness.settle()

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=self.harness.settings.url) as client:
                return await client.request(method, path, json=body)

        return asyncio.run(call())

    def job(self) -> dict[str, Any]:
        return self.harness.get(f"{WORKSPACE}/jobs/train-1").json()["properties"]

    def artifacts(self) -> Path:
        account = self.harness.row(WORKSPACE).status["account"]
        return self.harness.blobs.path(account, ARTIFACT_CONTAINER, "ExperimentRun/dcid.train-1")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_description_is_merged_into_the_job_and_its_run(site: Site) -> None:
    change = {"displayName": "Better", "tags": {"team": "y", "n": 1, "a": None}, "hidden": True, "unknown": 1}
    answer = site.ask("PATCH", RUN, change)
    assert answer.status_code == 200
    assert (answer.json()["displayName"], answer.json()["hidden"]) == ("Better", True)
    assert site.job()["tags"] == {"team": "y", "n": "1"}
    run = site.harness.tracking.runs[ResourceId.parse(WORKSPACE).key, "train-1"]
    assert (run["display_name"], run["tags"], run["hidden"]) == ("Better", {"team": "y", "n": "1"}, True)


def test_what_a_step_says_reaches_its_properties_by_the_number_of_its_experiment(site: Site) -> None:
    said = {"runId": "train-1", "properties": {"azureml.pipeline.control": '{"stop": true}'}}
    assert site.ask("PATCH", RUN.replace("/runs/", "/experimentids/3/runs/"), said).status_code == 200
    assert site.job()["properties"]["azureml.pipeline.control"] == '{"stop": true}'
    for name in ("smalt.held_until", "smalt.held_why"):  # that is the platform's to say
        assert site.ask("PATCH", RUN, {"runId": "train-1", "properties": {name: "never"}}).status_code == 200
        assert name not in site.job()["properties"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tags": {"a": {"b": "c"}}}, "tags.a"),
        ({"tags": {"a": ["b"]}}, "tags.a"),
        ({"tags": "a"}, "tags"),
        ({"properties": {"a": True}}, "properties.a"),
        ({"displayName": {}}, "displayName"),
        ({"hidden": "perhaps"}, "hidden"),
    ],
)
def test_a_description_of_the_wrong_type_is_refused_and_changes_nothing(
    site: Site, change: dict[str, Any], field: str
) -> None:
    before = site.job()
    answer = site.ask("PATCH", RUN, change)
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, field)
    assert site.job() == before


@pytest.mark.parametrize("values", ["azureml://jobs/train-1/outputs/model", 3, {"a": "b"}, [{}], [["x"]], [None]])
def test_ids_of_outputs_must_be_a_list_of_texts(site: Site, values: Any) -> None:
    answer = site.ask("POST", RESOLVE, {"values": values})
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, "values")


def test_an_output_that_is_not_there_is_named(site: Site) -> None:
    answer = site.ask("POST", RESOLVE, {"values": ["azureml://jobs/train-1/outputs/model"]})
    assert answer.status_code == 404
    assert site.ask("POST", RESOLVE, {"values": []}).json() == {"values": {}}


def test_logs_have_urls_the_streamed_ones_first_and_not_without_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOGS_MOST", 5)
    for folder, name in (("logs", "{}.txt"), ("user_logs", "std_log_{}.txt")):
        (site.artifacts() / folder).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            (site.artifacts() / folder / name.format(number)).write_text("x")
    logs = site.ask("GET", f"{RUN}/details").json()["logFiles"]
    assert list(logs) == [*(f"user_logs/std_log_{number}.txt" for number in range(4)), "logs/0.txt"]
    assert all("sig=" in url for url in logs.values())


def test_the_services_that_a_job_asks_for_have_not_started_before_it(site: Site) -> None:
    """`jobs.show_services` of the SDK, and the job's own document."""
    services = {
        "lab": {"jobServiceType": "JupyterLab", "nodes": {"nodesValueType": "All"}},
        "shell": {"jobServiceType": "SSH", "port": 22, "properties": {"sshPublicKeys": KEY}},
        "Tracking": {"jobServiceType": "Tracking"},
        "nothing": None,
    }
    job = {**site.job(), "services": services, "resources": {"instanceCount": 2}}
    job = {key: job[key] for key in ("jobType", "command", "environmentId", "services", "resources")}
    assert site.harness.put(f"{WORKSPACE}/jobs/open", {"properties": job}).status_code == 201
    shown = site.harness.get(f"{WORKSPACE}/jobs/open").json()["properties"]["services"]
    assert set(shown) == {"lab", "shell", "Tracking", "Studio"} and shown["Tracking"]["endpoint"]
    assert {name: shown[name]["status"] for name in ("lab", "shell")} == {"lab": "NotStarted", "shell": "NotStarted"}
    of = f"/history/v1.0{WORKSPACE}/runs/open/serviceinstances"
    for node, names in ((0, {"lab", "shell"}), (1, {"lab"}), (2, set[str]())):
        found = site.ask("GET", f"{of}/{node}").json()["instances"]
        assert set(found) == names
    shell = site.ask("GET", f"{of}/0").json()["instances"]["shell"]
    assert (shell["type"], shell["status"]) == ("SSH", "NotStarted")
    assert site.ask("GET", f"{RUN}/serviceinstances/0").json() == {"instances": {}}
    assert site.ask("PUT", f"{of}/0", {"instances": {}}).status_code == 405
    refused = site.harness.put(f"{WORKSPACE}/jobs/other", {"properties": {**job, "services": {"lab": "yes"}}})
    assert (refused.status_code, refused.json()["error"]["target"]) == (400, "properties.services.lab")
    assert site.ask("GET", f"/history/v1.0{WORKSPACE}/runs/none/serviceinstances/0").status_code == 404


def test_what_the_sdk_of_version_1_needs_of_a_run(site: Site) -> None:
    """`Run.get_context()` of azureml.core reads its number and its container, and waits for what it logged."""
    run = site.ask("GET", f"/history/v1.0{WORKSPACE}/experiments/Default/runs/train-1").json()
    assert run["dataContainerId"] == "dcid.train-1" and isinstance(run["runNumber"], int)
    assert site.ask("GET", f"{RUN}/metricsingest/wait").json() == {}
    assert site.ask("GET", f"{RUN}x/metricsingest/wait").status_code == 404
