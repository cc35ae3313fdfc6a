"""One registry: MLflow's tables and ARM's rows, both real, on each database, with the calls of MLflow's clients between them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from smalt.arm.errors import ArmError
from smalt.arm.hub import Hub
from smalt.arm.ids import ResourceId, workspace_id
from smalt.arm.models import ModelRows
from smalt.arm.ports import ModelVersion, RunSpec
from smalt.settings import Settings
from smalt.store import resources
from smalt.store.database import Database
from smalt.store.tables import metadata
from smalt.tracking.address import artifact_root, mlflow_name
from smalt.tracking.artifacts.folder import Folder
from smalt.tracking.artifacts.model_files import ModelFiles, place_in
from smalt.tracking.database import schema
from smalt.tracking.database.upsert import insert_into
from smalt.tracking.edge.registry_edge import Change, RegistryEdge
from smalt.tracking.models.registered_models import PROMPT, Registered, RegisteredModels
from smalt.tracking.runs.runs import MlflowTracking

ALPHA = workspace_id("s", "g", "alpha")
CREATE = "/api/2.0/mlflow/model-versions/create"
MLMODEL = "flavors: {sklearn: {code: null, sklearn_version: 1.5.1}}\n"


class Sides:
    """MLflow's side and ARM's. `make` does to MLflow's tables what its own server would."""

    def __init__(self, settings: Settings) -> None:
        self.root, self.settings = settings.root, settings
        self.tracking = MlflowTracking(settings, lambda workspace: "acct", lambda: 2000.0)
        self.models = RegisteredModels(self.tracking)
        self.database = Database(settings.database)
        with self.database.write() as connection:
            metadata.create_all(connection)
        self.arm = ModelRows(self.database, Hub(), lambda: 3000.0)
        self.edge = RegistryEdge(settings, self.models, self.arm, self.tracking.run_place)
        self.tracking.ensure_workspace(ALPHA.key)

    @property
    def files(self) -> ModelFiles:
        return ModelFiles(
            lambda container: Folder(self.root / "blobs" / container, self.root / "staging"),
            place_in(self.tracking.database, mlflow_name(ALPHA)),
        )

    def make(self, name: str, number: int, source: str, run: str = "", **more: Any) -> None:
        own = {"workspace": mlflow_name(ALPHA), "name": name}
        with self.tracking.database.write() as connection:
            connection.execute(insert_into(connection, schema.registered_models).values(**own).on_conflict_do_nothing())
            connection.execute(
                schema.model_versions.insert().values(
                    **own,
                    version=number,
                    source=source,
                    storage_location=source,
                    run_id=run,
                    current_stage="None",
                    **more,
                )
            )

    def ask(self, rest: str, body: dict[str, Any]) -> tuple[Change, dict[str, Any]]:
        change = self.edge.change(rest, "", json.dumps(body).encode())
        assert change is not None
        return change, json.loads(self.edge.before(ALPHA, change, json.dumps(body).encode(), "ada"))

    def took(self, change: Change, status: int = 200, answer: dict[str, Any] | None = None) -> dict[str, Any]:
        content = json.dumps(answer or {}).encode()
        return json.loads(self.edge.after(ALPHA, change, status, content, lambda: self.files, "ada"))

    def registers(self, name: str, source: str, **body: Any) -> dict[str, Any]:
        """The whole of `model-versions/create`, MLflow's own part included; the answer's model version."""
        change, sent = self.ask(CREATE, {"name": name, "source": source, **body})
        numbers = [int(one) for found, one in self.models.live(ALPHA.key) if found == name]
        number = max(numbers, default=0) + 1
        self.make(name, number, sent["source"], sent.get("run_id", ""))
        return self.took(change, answer={"model_version": {"version": str(number), "source": sent["source"]}})[
            "model_version"
        ]

    def row(self, name: str, version: str = "") -> resources.Row | None:
        id_ = ALPHA.child("models", name)
        with self.database.read() as connection:
            return resources.get(connection, (id_.child("versions", version) if version else id_).key)

    def properties(self, name: str, version: str = "") -> dict[str, Any]:
        row = self.row(name, version)
        assert row is not None, (name, version)
        return row.properties

    def stored(self, name: str, version: str) -> Any:
        table = schema.model_versions
        with self.tracking.database.read() as connection:
            return connection.execute(
                select(table).where(table.c.name == name, table.c.version == int(version))
            ).first()


@pytest.fixture
def sides(settings: Settings) -> Iterator[Sides]:
    made = Sides(settings)
    yield made
    made.tracking.database.close()
    made.database.close()


@pytest.fixture
def root(sides: Sides) -> str:
    return artifact_root(sides.settings, ALPHA)


def test_a_jobs_model_becomes_a_model_of_the_job(sides: Sides, root: str) -> None:
    sides.tracking.ensure_run(RunSpec(ALPHA.key, "job-1", "churn"))
    folder = sides.root / "blobs/azureml/ExperimentRun/dcid.job-1/model"
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text(MLMODEL)
    sides.registers("m", f"{root}/ExperimentRun/dcid.job-1/model", run_id="job-1")
    found = sides.properties("m", "1")
    assert found["modelUri"] == "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.job-1/model"
    assert (found["modelType"], found["jobName"]) == ("mlflow_model", "job-1")
    assert found["flavors"] == {"sklearn": {"data": {"code": "None", "sklearn_version": "1.5.1"}}}


def test_a_run_that_is_no_job_and_mlflows_own_paths(sides: Sides, root: str) -> None:
    sides.registers("m", f"{root}/7/other/artifacts/model", run_id="other")
    store = "azureml://datastores/workspaceartifactstore/paths"
    assert sides.properties("m", "1")["modelUri"] == f"{store}/ExperimentRun/dcid.other/model"
    assert sides.properties("m", "1")["jobName"] == "other"
    sides.registers("m", "s3://bucket/model")
    assert sides.properties("m", "2")["modelUri"] == "s3://bucket/model"


def test_files_of_no_run_pass_mlflows_check_and_can_be_opened_afterwards(sides: Sides, root: str) -> None:
    uploaded = f"{root}/LocalUpload/x/model"
    _, sent = sides.ask(CREATE, {"name": "m", "source": uploaded})
    assert sent["source"] == "azureml://artifacts/LocalUpload/x/model"
    assert sides.registers("m", uploaded)["source"] == uploaded
    assert (sides.stored("m", "1").source, sides.stored("m", "1").storage_location) == (uploaded, uploaded)
    expected = "azureml://datastores/workspaceartifactstore/paths/LocalUpload/x/model"
    assert sides.properties("m", "1")["modelUri"] == expected


def test_a_source_that_climbs_is_left_as_it_is(sides: Sides) -> None:
    sides.registers("m", "azureml://artifacts/../../secret")
    assert sides.properties("m", "1")["modelUri"] == "azureml://artifacts/../../secret"


def test_a_jobs_path_is_registered_with_its_run(sides: Sides, root: str) -> None:
    sides.tracking.ensure_run(RunSpec(ALPHA.key, "job-1", "churn"))
    _, sent = sides.ask(CREATE, {"name": "m", "source": "azureml://jobs/job-1/outputs/artifacts/paths/model/"})
    assert sent == {"name": "m", "run_id": "job-1", "source": f"{root}/ExperimentRun/dcid.job-1/model"}
    _, sent = sides.ask(CREATE, {"name": "m", "source": f"{root}/ExperimentRun/dcid.job-1/model", "model_id": "m-1"})
    assert "run_id" not in sent, "the model is named: MLflow looks there"


def test_tags_and_descriptions_are_taken_over(sides: Sides) -> None:
    sides.registers("m", "s3://bucket/model")
    own = {"workspace": mlflow_name(ALPHA), "name": "m"}
    with sides.tracking.database.write() as connection:
        connection.execute(schema.model_version_tags.insert().values(**own, version=1, key="a", value="b"))
        connection.execute(schema.registered_model_tags.insert().values(**own, key="team", value="x"))
        connection.execute(update(schema.registered_models).values(description="All"))
        connection.execute(update(schema.model_versions).values(description="First", current_stage="Archived"))
    sides.took(sides.ask("/api/2.0/mlflow/model-versions/set-tag", {"name": "m", "version": "1"})[0])
    assert (sides.properties("m", "1")["tags"], sides.properties("m", "1")["description"]) == ({"a": "b"}, "First")
    row = sides.row("m", "1")
    assert row is not None and row.archived and row.status == {"mlflow": True} and row.due_at is None
    sides.took(sides.ask("/api/2.0/mlflow/registered-models/update", {"name": "m"})[0])
    assert (sides.properties("m")["tags"], sides.properties("m")["description"]) == ({"team": "x"}, "All")


def test_a_delete_of_a_name_that_differs_by_case_removes_nothing(sides: Sides) -> None:
    sides.registers("churn", "file:///m")
    for what, version in (("registered-models", {}), ("model-versions", {"version": "1"})):
        sides.took(sides.ask(f"/api/2.0/mlflow/{what}/delete", {"name": "CHURN", **version})[0], 404)
    assert sides.row("churn") is not None
    assert sides.row("churn", "1") is not None


def test_deletes_are_taken_over_also_when_tried_again(sides: Sides) -> None:
    for _ in range(2):
        sides.registers("m", "s3://bucket/model")
    delete = "/api/2.0/mlflow/model-versions/delete"
    sides.took(sides.ask(delete, {"name": "m", "version": "2"})[0], 400)
    assert sides.row("m", "2") is not None
    sides.took(sides.ask(delete, {"name": "m", "version": "2"})[0], 404)
    assert sides.row("m", "2") is None and sides.row("m", "1") is not None
    sides.took(sides.ask("/api/2.0/mlflow/registered-models/delete", {"name": "m"})[0])
    assert sides.row("m") is None and sides.row("m", "1") is None


def test_what_arm_cannot_have_is_refused_before_mlflow_has_it(sides: Sides) -> None:
    sides.registers("Churn", "s3://bucket/model")
    create, rename = "/api/2.0/mlflow/registered-models/create", "/api/2.0/mlflow/registered-models/rename"
    for rest, name, status in (
        (create, "a b", 400),
        (create, "churn", 409),
        (CREATE, "a b", 400),
        (CREATE, "churn", 409),
        (rename, "Churn", 400),
    ):
        with pytest.raises(ArmError) as caught:
            sides.ask(rest, {"name": name})
        assert caught.value.status == status
    prompt = {"name": "a prompt", "tags": [{"key": PROMPT, "value": "true"}]}
    assert sides.ask(create, prompt)[1] == prompt


def test_a_version_makes_its_model_and_leaves_one_that_is_there_as_it_is(sides: Sides) -> None:
    sides.ask(CREATE, {"name": "m", "source": "s3://bucket/model"})
    assert sides.models.read(ALPHA.key, "m") == Registered(None, {}, [])
    row = sides.row("m")
    assert row is not None and row.created_by == "ada"
    sides.models.ensure_model(ALPHA.key, "m", "kept", {"a": "b"})
    sides.ask(CREATE, {"name": "m", "source": "s3://bucket/model"})
    assert sides.models.read(ALPHA.key, "m") == Registered("kept", {"a": "b"}, [])


def test_reading_and_nonsense_are_no_changes(sides: Sides) -> None:
    for rest, body in (
        ("/api/2.0/mlflow/model-versions/search", b"{}"),
        (CREATE, b"{"),
        (CREATE, b"[1]"),
        (CREATE, b'{"name": 7}'),
        ("/api/2.0/mlflow/runs/create", b'{"name": "m"}'),
    ):
        assert sides.edge.change(rest, "", body) is None


def test_prompts_stay_mlflows(sides: Sides) -> None:
    own = {"workspace": mlflow_name(ALPHA), "name": "p"}
    sides.make("p", 1, "dummy-source")
    with sides.tracking.database.write() as connection:
        connection.execute(schema.registered_model_tags.insert().values(**own, key=PROMPT, value="true"))
    sides.edge.adopt_all(ALPHA, sides.files)
    assert sides.row("p") is None
    sides.models.ensure_version(ModelVersion(ALPHA.key, "p", "2", "s3://x"))
    assert sides.stored("p", "2") is None


def test_a_request_that_was_cut_short_is_made_good(sides: Sides) -> None:
    sides.make("m", 1, "azureml://artifacts/LocalUpload/x/model")
    sides.edge.adopt_all(ALPHA, sides.files)
    expected = "azureml://datastores/workspaceartifactstore/paths/LocalUpload/x/model"
    assert sides.properties("m", "1")["modelUri"] == expected
    assert sides.stored("m", "1").source.startswith("https://")


def test_what_arm_is_deleting_is_not_taken_over_again(sides: Sides) -> None:
    sides.make("m", 1, "s3://x")
    id_ = ALPHA.child("models", "m").child("versions", "1")
    with sides.database.write() as connection:
        resources.insert(
            connection,
            key="/smalt/modelnews/1",
            written="x",
            kind="modelnews",
            parent="",
            name=id_.key,
            spec={},
            status={},
            state="Updating",
            now=1,
            by="t",
            due_at=1,
        )
    sides.edge.adopt_all(ALPHA, sides.files)
    assert sides.row("m", "1") is None


def pending(sides: Sides, version: str) -> None:
    id_ = ALPHA.child("models", "m")
    with sides.database.write() as connection:
        for one, due in ((id_, None), (id_.child("versions", version), 1.0)):
            if resources.get(connection, one.key) is None:
                resources.insert(
                    connection,
                    key=one.key,
                    written=str(one),
                    kind=one.kind,
                    parent=one.parent.key,
                    name=one.name,
                    spec={"properties": {"modelUri": "azureml://x"}},
                    status={},
                    state="Succeeded",
                    now=1,
                    by="t",
                    due_at=due,
                )


def test_numbers_agree_also_with_what_arm_has_not_shown_yet(sides: Sides) -> None:
    pending(sides, "4")
    assert sides.registers("m", "s3://x")["version"] == "5"
    assert sides.stored("m", "4").source == "azureml://x"


def test_two_that_took_one_number_is_a_conflict(sides: Sides) -> None:
    change, _ = sides.ask(CREATE, {"name": "m", "source": "s3://x"})
    sides.make("m", 4, "s3://x")
    pending(sides, "4")
    with pytest.raises(ArmError) as caught:
        sides.took(change, answer={"model_version": {"version": "4"}})
    assert caught.value.status == 409 and sides.properties("m", "4")["modelUri"] == "azureml://x"


FROM_ARM = ModelVersion(
    ALPHA.key, "m", "3", "azureml://x", "azureml-blobstore-1", "LocalUpload/h/saved", description="d", tags={"a": "b"}
)


def test_arms_versions_in_mlflows_tables(sides: Sides, root: str) -> None:
    sides.tracking.ensure_run(RunSpec(ALPHA.key, "job-1", "churn"))
    for _ in range(2):
        sides.models.ensure_version(replace(FROM_ARM, job="job-1"))
    row = sides.stored("m", "3")
    assert row.source == row.storage_location == f"{root}/RegisteredModel/m.3/saved"
    assert (row.run_id, row.description, row.current_stage, row.status) == ("job-1", "d", "None", "READY")
    found = sides.models.read(ALPHA.key, "m")
    assert found is not None and [one.tags for one in found.versions] == [{"a": "b"}]
    sides.models.ensure_version(replace(FROM_ARM, archived=True))
    assert sides.stored("m", "3").current_stage == "Archived"
    sides.models.ensure_version(replace(FROM_ARM, tags={}))
    assert sides.stored("m", "3").current_stage == "None"
    sides.models.ensure_version(replace(FROM_ARM, version="4", container="azureml", path="ExperimentRun/dcid.j/m/"))
    assert sides.stored("m", "4").source == f"{root}/ExperimentRun/dcid.j/m"


@pytest.mark.parametrize("version", ["v1", "1.0", "01", "0", "99999999999", "²"])
def test_versions_that_are_no_numbers_are_left_out(sides: Sides, version: str) -> None:
    sides.models.ensure_version(replace(FROM_ARM, version=version))
    sides.models.remove_version(ALPHA.key, "m", version)
    assert sides.models.live(ALPHA.key) == set()


def test_a_removed_version_keeps_its_number_and_a_removed_model_nothing(sides: Sides) -> None:
    sides.models.ensure_version(FROM_ARM)
    sides.models.remove_version(ALPHA.key, "m", "3")
    sides.models.remove_version(ALPHA.key, "m", "9")
    assert sides.stored("m", "3").current_stage == "Deleted_Internal" and sides.models.live(ALPHA.key) == set()
    assert sides.files.place_of("m.3") is None
    sides.models.ensure_version(FROM_ARM)
    assert sides.models.live(ALPHA.key) == {("m", "3")} and sides.stored("m", "3").source.endswith("/m.3/saved")
    sides.models.ensure_model(ALPHA.key, "m", "All", {"x": "y"})
    sides.models.remove_model(ALPHA.key, "m")
    assert sides.models.read(ALPHA.key, "m") is None and sides.stored("m", "3") is None
    assert sides.files.place_of("m.3") is None


def test_the_files_of_a_registered_model_can_be_read_and_nothing_beside_them(sides: Sides) -> None:
    folder = sides.root / "blobs/azureml-blobstore-1/LocalUpload/h"
    (folder / "saved").mkdir(parents=True)
    (folder / "saved/MLmodel").write_text(MLMODEL)
    (folder / "saved2").write_text("another's")
    sides.models.ensure_version(FROM_ARM)
    files = sides.files
    spot = files.locate("RegisteredModel/m.3/saved/MLmodel")
    assert spot.folder.open(spot.name).read().decode() == MLMODEL and spot.container == "azureml-blobstore-1"
    assert files.files("RegisteredModel/m.3") == ["saved/MLmodel"]
    assert files.files("RegisteredModel/m.3/saved") == ["MLmodel"]
    for name in ("RegisteredModel/m.3/saved2", "RegisteredModel/m.4/saved", "RegisteredModel/m.3/LocalUpload"):
        with pytest.raises(ArmError) as caught:
            files.locate(name)
        assert caught.value.status == 404
    with pytest.raises(ArmError) as caught:
        spot.check_writable()
    assert caught.value.status == 403


def test_a_copy_has_a_place_of_its_own(sides: Sides, root: str) -> None:
    sides.models.ensure_version(FROM_ARM)
    change, _ = sides.ask(CREATE, {"name": "copy", "source": "models:/m/3"})
    sides.make("copy", 1, f"{root}/RegisteredModel/m.3/saved")
    sides.took(change, answer={"model_version": {"version": "1", "source": "models:/m/3"}})
    expected = "azureml://datastores/workspaceblobstore/paths/LocalUpload/h/saved"
    assert sides.properties("copy", "1")["modelUri"] == expected
    sides.models.remove_model(ALPHA.key, "m")
    assert sides.stored("copy", "1").storage_location == f"{root}/RegisteredModel/copy.1/saved"
    assert sides.files.place_of("copy.1") == ("azureml-blobstore-1", "LocalUpload/h/saved")


def test_a_workspace_that_is_removed_takes_its_places_with_it(sides: Sides) -> None:
    sides.models.ensure_version(FROM_ARM)
    sides.tracking.remove_workspace(ALPHA.key)
    assert sides.files.place_of("m.3") is None and sides.models.live(ALPHA.key) == set()
    assert ResourceId.parse(ALPHA.key).key == ALPHA.key
