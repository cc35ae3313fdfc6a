"""ARM's models are shown to MLflow: made, changed, archived and deleted, also while MLflow is away."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from fakes.platform import WORKSPACE, Harness
from smalt.arm.models import ModelRows, show_to_mlflow
from smalt.arm.ports import ModelVersion, NotReady
from smalt.store import resources
from smalt.store.tables import resource

MODEL = f"{WORKSPACE}/models/Churn"
HOME = WORKSPACE.lower()
UPLOADED = "azureml://datastores/workspaceblobstore/paths/LocalUpload/abc/model"


def put(harness: Harness, version: str = "1", uri: str = UPLOADED, **more: Any) -> Any:
    body = {"modelUri": uri, "modelType": "mlflow_model", **more}
    return harness.put(f"{MODEL}/versions/{version}", {"properties": body})


def shown(harness: Harness, version: str = "1") -> ModelVersion:
    return harness.models.versions[HOME, "Churn", version]


def news(harness: Harness) -> int:
    with harness.database.read() as connection:
        return len(connection.execute(select(resource.c.id).where(resource.c.kind == "modelnews")).all())


def test_a_version_is_shown_with_the_place_of_its_files(harness: Harness) -> None:
    assert put(harness, description="d", tags={"a": "1"}).status_code == 201
    assert harness.get(f"{MODEL}/versions/1").json()["properties"]["provisioningState"] == "Succeeded"
    harness.settle()
    one = shown(harness)
    assert (one.uri, one.path, one.description, one.tags) == (UPLOADED, "LocalUpload/abc/model", "d", {"a": "1"})
    assert one.container.startswith("azureml-blobstore-")
    assert harness.row(f"{MODEL}/versions/1").due_at is None


def test_files_elsewhere_have_no_place(harness: Harness) -> None:
    put(harness, uri="https://example.com/model")
    harness.settle()
    assert (shown(harness).container, shown(harness).path) == ("", "")


def test_changes_and_archiving_follow(harness: Harness) -> None:
    put(harness)
    harness.settle()
    assert put(harness, tags={"b": "2"}, isArchived=True, stage="Production").status_code == 200
    harness.settle()
    assert (shown(harness).tags, shown(harness).archived, shown(harness).stage) == ({"b": "2"}, True, "Production")
    harness.put(MODEL, {"properties": {"description": "All of them", "tags": {"team": "x"}}})
    harness.settle()
    assert harness.models.models[HOME, "Churn"] == ("All of them", {"team": "x"})
    assert harness.get(MODEL).json()["properties"]["latestVersion"] is None, "the only version is archived"
    assert harness.get(MODEL).json()["properties"]["nextVersion"] == "2"


def test_a_deleted_version_is_deleted_there_however_long_mlflow_is_away(harness: Harness) -> None:
    put(harness)
    put(harness, "2")
    harness.settle()
    harness.models.broken = NotReady("away")
    assert harness.send("DELETE", f"{MODEL}/versions/1").status_code == 200
    assert harness.get(f"{MODEL}/versions/1").status_code == 404
    for _ in range(20):
        harness.loop.run_due()
        harness.clock.pass_(1)
    assert news(harness) == 1 and (HOME, "Churn", "1") in harness.models.versions
    harness.models.broken = None
    harness.clock.pass_(1)
    harness.settle()
    assert set(harness.models.versions) == {(HOME, "Churn", "2")} and news(harness) == 0


def test_a_deleted_model_goes_with_all_its_versions(harness: Harness) -> None:
    put(harness)
    put(harness, "2")
    harness.settle()
    assert harness.send("DELETE", MODEL).status_code == 200
    harness.settle()
    assert harness.models.versions == {} and (HOME, "Churn") not in harness.models.models and news(harness) == 0


def test_what_was_made_again_before_mlflow_heard_of_the_deletion_stays(harness: Harness) -> None:
    put(harness)
    harness.settle()
    harness.send("DELETE", f"{MODEL}/versions/1")
    put(harness, uri=UPLOADED + "2")
    harness.settle()
    assert shown(harness).uri == UPLOADED + "2" and news(harness) == 0


def test_a_step_that_is_done_twice_changes_nothing(harness: Harness) -> None:
    put(harness, tags={"a": "1"})
    harness.settle()
    before = dict(harness.models.versions)
    with harness.database.write() as connection:
        resources.poke(connection, [f"{MODEL}/versions/1"], harness.clock())
    harness.settle()
    assert harness.models.versions == before


def test_the_workspace_takes_its_models_with_it(harness: Harness) -> None:
    put(harness)
    harness.settle()
    harness.send("DELETE", WORKSPACE)
    harness.clock.pass_(60)
    harness.settle()
    assert harness.get(f"{MODEL}/versions/1").status_code == 404 and harness.models.versions == {}


def test_versions_from_before_there_was_one_registry_are_shown(harness: Harness) -> None:
    put(harness)
    harness.settle()
    harness.models.versions.clear()
    key = f"{MODEL}/versions/1".lower()
    with harness.database.write() as connection:
        show_to_mlflow(connection, harness.clock())
    harness.settle()
    assert harness.models.versions == {}, "it was shown already"
    with harness.database.write() as connection:
        resources.merge_status(connection, key, {"mlflow": None})
        show_to_mlflow(connection, harness.clock())
    harness.settle()
    assert shown(harness).uri == UPLOADED


@pytest.fixture
def rows(harness: Harness) -> ModelRows:
    return ModelRows(harness.database, harness.platform.hub, harness.clock)


def test_mlflows_versions_are_models_of_arm(harness: Harness, rows: ModelRows) -> None:
    flavors = {"sklearn": {"data": {"code": "None"}}}
    made = ModelVersion(HOME, "Churn", "1", UPLOADED, job="run-1", tags={"a": "b"}, flavors=flavors)
    assert rows.register(made, "ada")
    assert rows.register(made, "ada"), "again is no news"
    document = harness.get(f"{MODEL}/versions/1").json()
    properties = document["properties"]
    assert document["id"] == f"{MODEL}/versions/1" and document["systemData"]["createdBy"] == "ada"
    assert (properties["modelUri"], properties["modelType"]) == (UPLOADED, "mlflow_model")
    assert (properties["jobName"], properties["tags"], properties["flavors"]) == ("run-1", {"a": "b"}, flavors)
    assert harness.row(f"{MODEL}/versions/1").generation == 1
    container = harness.get(MODEL).json()["properties"]
    assert (container["latestVersion"], container["nextVersion"]) == ("1", "2")
    harness.settle()
    assert harness.models.versions == {}, "MLflow has it already"


def test_other_files_under_the_same_number_are_refused_and_arm_wins(harness: Harness, rows: ModelRows) -> None:
    put(harness)
    harness.settle()
    harness.models.versions.clear()
    assert not rows.register(ModelVersion(HOME, "churn", "1", UPLOADED + "-other"), "ada")
    harness.settle()
    assert shown(harness).uri == UPLOADED and harness.row(f"{MODEL}/versions/1").properties["modelUri"] == UPLOADED


def test_pending_known_and_spelled(harness: Harness, rows: ModelRows) -> None:
    put(harness)
    put(harness, "2")
    assert [one.version for one in rows.pending(HOME, "churn")] == ["1", "2"]
    harness.settle()
    assert rows.pending(HOME, "churn") == []
    assert (rows.spelled(HOME, "CHURN"), rows.spelled(HOME, "other")) == ("Churn", "")
    harness.send("DELETE", f"{MODEL}/versions/1")
    assert rows.known(HOME) == {("churn", "1"), ("churn", "2")}, "one is about to be deleted from MLflow"
    harness.settle()
    assert rows.known(HOME) == {("churn", "2")}


def test_what_mlflow_deleted_is_gone(harness: Harness, rows: ModelRows) -> None:
    put(harness)
    put(harness, "2")
    harness.settle()
    rows.remove(HOME, "Churn", "2")
    rows.remove(HOME, "Churn", "7")
    assert harness.get(MODEL).json()["properties"]["latestVersion"] == "1"
    rows.remove(HOME, "Churn")
    assert harness.get(MODEL).status_code == 404 and harness.get(f"{MODEL}/versions/1").status_code == 404
