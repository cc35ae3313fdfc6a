"""Jobs as OpenLineage's events: told from the feed, each once, of the form that its schema asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fakes import pipelines, sweeps
from fakes.examples import EXAMPLES
from fakes.jobs import JOBS, run, submit
from fakes.openlineage import check
from fakes.platform import WORKSPACE, Harness
from smalt.openlineage.delivery import NAME, Delivery
from smalt.openlineage.facets import repository
from smalt.openlineage.targets import NotTold, Refused
from smalt.store import deliveries
from smalt.store.document import Document
from smalt.store.servers import Servers

STORE = "azureml://datastores/workspaceblobstore/paths"
CODE = f"{WORKSPACE}/codes/c0de/versions/1"


@dataclass
class Receiver:
    """`fails`: how often it cannot be reached; `refuses`: types of events that it does not take."""

    told: list[Any] = field(default_factory=list[Any])
    fails: int = 0
    refuses: tuple[str, ...] = ()

    def tell(self, events: Sequence[Document]) -> None:
        for event in events:
            if self.fails:
                self.fails -= 1
                raise NotTold("it is away")
            if event["eventType"] in self.refuses:
                raise Refused("it has no use for that")
            check(event)
            self.told.append(event)

    def kinds(self, name: str = "") -> list[str]:
        return [one["eventType"] for one in self.told if one["job"]["name"].endswith(name)]


@pytest.fixture
def receiver(harness: Harness) -> Receiver:
    return Receiver()


@pytest.fixture
def delivery(harness: Harness, receiver: Receiver) -> Delivery:
    """It has begun: what comes from now on is told."""
    made = Delivery(harness.platform, receiver, jitter=lambda: 1.0)
    made.look()
    return made


def files(harness: Harness, name: str, data: bytes) -> None:
    account = harness.row(WORKSPACE.lower()).status["account"]
    container = harness.get(f"{WORKSPACE}/datastores/workspaceblobstore").json()["properties"]["containerName"]
    path = harness.blobs.path(account, container, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_a_run_says_what_it_read_wrote_and_was_made_from(
    harness: Harness, delivery: Delivery, receiver: Receiver
) -> None:
    files(harness, "raw/a.csv", b"1,2\n")
    table = b"type: mltable\npaths:\n- file: ./a.csv\ntransformations:\n- read_delimited:\n    delimiter: ','\n"
    files(harness, "table/MLTable", table + b"- convert_column_types:\n  - columns: [age]\n    column_type: int\n")
    files(harness, "table/a.csv", b"age\n1\n")
    for name, type_ in (("raw", "uri_folder"), ("table", "mltable")):
        asset = {"properties": {"dataUri": f"{STORE}/{name}/", "dataType": type_}}
        assert harness.put(f"{WORKSPACE}/data/{name}/versions/3", asset).status_code == 201
    harness.put(CODE, EXAMPLES["workspaces/codes/versions"].body())
    git = {"mlflow.source.git.repoURL": "https://ada:hush@git.example/x.git", "mlflow.source.git.commit": "abc"}
    key = ""
    run(
        harness,
        "train",
        codeId=CODE,
        displayName="nightly",
        experimentName="churn",
        properties=git,
        description="why",
        inputs={
            "raw": {"jobInputType": "uri_folder", "uri": "azureml:raw:3"},
            "table": {"jobInputType": "mltable", "uri": "azureml:table:3"},
            "web": {"jobInputType": "uri_file", "uri": "https://example.com/d/a b.csv?key=hush"},
            "rate": {"jobInputType": "literal", "value": "0.1"},
        },
        outputs={
            "model": {"jobOutputType": "mlflow_model", "assetName": "churn"},
            "scratch": {"jobOutputType": "uri_folder"},
        },
        environmentVariables={"TOKEN": "hush"},
    )
    key = harness.row(f"{JOBS}/train").spec["smalt"]["plan"]["key"]
    harness.environments.locks[key] = {"numpy": "2.1.0"}
    delivery.look()
    start, complete = receiver.told
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"] and start["eventTime"] < complete["eventTime"]
    assert complete["job"] | {"facets": None} == {
        "namespace": "smalt://localhost:7443/smalt/bank",
        "name": "churn.nightly",
        "facets": None,
    }
    jobs = complete["job"]["facets"]
    assert jobs["sourceCodeLocation"]["url"] == "https://git.example/x.git"
    assert jobs["sourceCodeLocation"]["version"] == "abc" and jobs["smalt_code"]["hash"] == "abc"
    runs = complete["run"]["facets"]
    assert runs["smalt_environment"]["packages"] == {"numpy": "2.1.0"}
    assert runs["executionParameters"]["parameters"] == [{"key": "rate", "value": "0.1"}]
    raw, columns, web = complete["inputs"]
    assert (raw["name"], raw["facets"]["version"]["datasetVersion"]) == ("data/raw", "3")
    assert raw["inputFacets"]["inputStatistics"]["size"] == 4
    (place,) = raw["facets"]["symlinks"]["identifiers"]
    assert place["namespace"].startswith("wasbs://") and place["name"] == "raw"
    assert columns["facets"]["schema"]["fields"] == [{"name": "age", "type": "int"}]
    assert (web["namespace"], web["name"]) == ("https://example.com", "/d/a b.csv")
    assert [one["name"] for one in start["outputs"]] == ["azureml/train/model", "azureml/train/scratch"]
    assert [one["name"] for one in complete["outputs"]] == ["azureml/train/scratch", "models/churn"]
    assert complete["outputs"][1]["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert "hush" not in str(receiver.told)
    delivery.look()
    assert len(receiver.told) == 2


def test_every_end_is_told_with_a_start_before_it(harness: Harness, delivery: Delivery, receiver: Receiver) -> None:
    run(harness, "bad", exit_code=1, experimentName="bad")
    submit(harness, "late", experimentName="late")
    harness.send("POST", f"{JOBS}/late/cancel")
    harness.settle()
    submit(harness, "gone", experimentName="gone")
    harness.settle()
    (task,) = harness.row(f"{JOBS}/gone").status["tasks"]
    harness.engine.start(task)
    harness.settle()
    harness.send("DELETE", f"{JOBS}/gone")
    harness.settle()
    assert harness.get(f"{JOBS}/gone").status_code == 404
    delivery.look()
    assert receiver.kinds("bad") == ["START", "FAIL"]
    assert receiver.kinds("late") == ["START", "ABORT"]
    assert receiver.kinds("gone") == ["START", "ABORT"]
    (failed,) = [one for one in receiver.told if one["eventType"] == "FAIL"]
    assert "exit code 1" in failed["run"]["facets"]["errorMessage"]["message"]


def test_children_name_who_submitted_them(harness: Harness, delivery: Delivery, receiver: Receiver) -> None:
    part = pipelines.component(harness, "part")
    jobs = {"prepare": pipelines.node(part, data="${{parent.inputs.raw}}")}
    pipelines.submit(harness, jobs, inputs={"raw": pipelines.data()}, experimentName="pipe", displayName="daily")
    pipelines.run_to_the_end(harness)
    sweeps.sweep(harness, trials=1, at_once=1, experimentName="tune")
    harness.settle()
    sweeps.end(harness, "tune_0", 0.4)
    for _ in range(5):
        delivery.look()
    assert receiver.kinds("pipe.daily") == receiver.kinds("pipe.daily.prepare") == ["START", "COMPLETE"]
    assert receiver.kinds("tune") == receiver.kinds("tune.trial") == ["START", "COMPLETE"]
    whole, step = (
        next(one for one in receiver.told if one["job"]["name"] == name)
        for name in ("pipe.daily", "pipe.daily.prepare")
    )
    parent = step["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == whole["run"]["runId"] and parent["job"]["name"] == "pipe.daily"
    assert "parent" not in whole["run"]["facets"]


def test_a_model_that_is_registered_later_is_told_of(harness: Harness, delivery: Delivery, receiver: Receiver) -> None:
    run(harness, "train", outputs={"model": {"jobOutputType": "mlflow_model"}})
    model = {"modelUri": "azureml://jobs/train/outputs/model", "modelType": "mlflow_model"}
    assert harness.put(f"{WORKSPACE}/models/churn/versions/7", {"properties": model}).status_code == 201
    delivery.look()
    assert receiver.kinds() == ["START", "COMPLETE", "OTHER"]
    start, _, other = receiver.told
    assert other["run"]["runId"] == start["run"]["runId"]
    assert [one["name"] for one in other["outputs"]] == ["models/churn"]


def test_a_preempted_job_starts_once(harness: Harness, delivery: Delivery, receiver: Receiver) -> None:
    submit(harness, "spot", queueSettings={"jobTier": "Spot"})
    harness.settle()
    (task,) = harness.row(f"{JOBS}/spot").status["tasks"]
    harness.engine.start(task)
    harness.settle()
    with harness.database.write() as connection:
        connection.exec_driver_sql("UPDATE allocation SET reclaimed = 1")
        connection.exec_driver_sql("UPDATE resource SET due_at = 1 WHERE name = 'spot'")
    harness.settle()
    (again,) = harness.row(f"{JOBS}/spot").status["tasks"]
    assert again != task
    harness.engine.start(again)
    harness.settle()
    harness.engine.finish(again, 0)
    harness.settle()
    delivery.look()
    assert receiver.kinds() == ["START", "COMPLETE"]


def test_what_cannot_be_told_is_told_later_and_nothing_twice(
    harness: Harness, delivery: Delivery, receiver: Receiver
) -> None:
    run(harness, "one", experimentName="one")
    receiver.fails = 3
    pauses = [delivery.look() for _ in range(3)]
    assert pauses == [1.0, 2.0, 4.0] and not receiver.told
    run(harness, "two", experimentName="two")
    assert delivery.look() > 4
    assert receiver.kinds() == ["START", "COMPLETE"] * 2
    again = Delivery(harness.platform, receiver)  # the server was killed
    again.look()
    assert len(receiver.told) == 4


def test_an_event_that_is_refused_does_not_stop_the_others(
    harness: Harness, delivery: Delivery, receiver: Receiver
) -> None:
    receiver.refuses = ("START",)
    run(harness, "one")
    delivery.look()
    assert receiver.kinds() == ["COMPLETE"]


def test_another_server_tells_while_its_lease_holds(harness: Harness, delivery: Delivery, receiver: Receiver) -> None:
    with harness.database.write() as connection:
        now = harness.clock()
        assert deliveries.claim(connection, NAME, "other", now, 60.0) is None
        assert deliveries.claim(connection, NAME, "other", now + 61, 60.0) is not None
        assert deliveries.claim(connection, NAME, "alone", now + 62, 60.0) is None
    servers = Servers(harness.database, harness.clock, "me", "https://me", 300)
    mine = Delivery(replace(harness.platform, servers=servers), receiver)
    run(harness, "one")
    harness.clock.pass_(61.0)
    mine.look()
    assert not receiver.told, "the other goes on"
    harness.clock.pass_(61.0)
    mine.look()
    assert receiver.kinds() == ["START", "COMPLETE"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("git@github.com:bank/churn.git", "ssh://git@github.com/bank/churn.git"),
        ("https://ada:hush@git.example:8443/x?token=hush", "https://git.example:8443/x"),
        ("ssh://git@git.example/x", "ssh://git@git.example/x"),
        ("https://dev.azure.example/hush@bank/churn", ""),
        ("/churn", ""),
        ("http://[bad", ""),
    ],
)
def test_the_address_of_a_repository_is_a_uri_without_secrets(given: str, shown: str) -> None:
    assert repository(given) == shown
