"""The tables of MLflow that we read and write, declared here so that the server need not import MLflow (5 s, 250 MB).

`tests/contract/tracking` compares them with the schema that MLflow's own migrations make. Times are milliseconds.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()
REVISION = "dc11669786a5"  # of MLflow's migrations, to which all of this holds

revisions = Table("alembic_version", metadata, Column("version_num", String(32), primary_key=True))

workspaces = Table(
    "workspaces",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("description", Text),
    Column("default_artifact_root", Text),
)

experiments = Table(
    "experiments",
    metadata,
    Column("experiment_id", Integer, primary_key=True),
    Column("name", String(256), nullable=False),
    Column("workspace", String(63), nullable=False),
    Column("artifact_location", String(256)),
    Column("lifecycle_stage", String(32)),
    Column("creation_time", BigInteger),
    Column("last_update_time", BigInteger),
)

runs = Table(
    "runs",
    metadata,
    Column("run_uuid", String(32), primary_key=True),  # the length is not enforced (`own_tables.py`): a job's name fits
    Column("name", String(250)),
    Column("source_type", String(20)),
    Column("source_name", String(500)),
    Column("entry_point_name", String(50)),
    Column("user_id", String(256)),
    Column("status", String(9)),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("deleted_time", BigInteger),
    Column("source_version", String(50)),
    Column("lifecycle_stage", String(20)),
    Column("artifact_uri", String(200)),
    Column("experiment_id", Integer),
)

tags = Table(
    "tags",
    metadata,
    Column("key", String(250), primary_key=True),
    Column("value", String(8000)),
    Column("run_uuid", String(32), primary_key=True),
)

params = Table(
    "params",
    metadata,
    Column("key", String(250), primary_key=True),
    Column("value", String(8000), nullable=False),
    Column("run_uuid", String(32), primary_key=True),
)

latest_metrics = Table(
    "latest_metrics",
    metadata,
    Column("key", String(250), primary_key=True),
    Column("value", Double, nullable=False),
    Column("timestamp", BigInteger),
    Column("step", BigInteger, nullable=False),
    Column("is_nan", Boolean, nullable=False),
    Column("run_uuid", String(32), primary_key=True),
)

metrics = Table(
    "metrics",
    metadata,
    Column("key", String(250), primary_key=True),
    Column("value", Double, primary_key=True),
    Column("timestamp", BigInteger, primary_key=True),
    Column("run_uuid", String(32), primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("is_nan", Boolean, primary_key=True),
)

LOGGED = (tags, params, metrics, latest_metrics)  # all whose rows keep a run from being deleted

inputs = Table(  # data sets and models that runs used or made; a run is at either end
    "inputs",
    metadata,
    Column("source_type", String(36), primary_key=True),
    Column("source_id", String(36), primary_key=True),
    Column("destination_type", String(36), primary_key=True),
    Column("destination_id", String(36), primary_key=True),
    Column("step", BigInteger, nullable=False, server_default="0"),
    Column("input_uuid", String(36), nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    Column("dataset_uuid", String(36), nullable=False),
    Column("experiment_id", Integer, primary_key=True),
    Column("name", String(500), primary_key=True),
    Column("digest", String(36), primary_key=True),
    Column("dataset_source_type", String(36), nullable=False),
    Column("dataset_source", Text, nullable=False),
    Column("dataset_schema", Text),
    Column("dataset_profile", Text),
)

input_tags = Table(  # of the data sets among `inputs`
    "input_tags",
    metadata,
    Column("input_uuid", String(36), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("value", String(500), nullable=False),
)

logged_models = Table(
    "logged_models",
    metadata,
    Column("model_id", String(36), primary_key=True),
    Column("experiment_id", Integer, nullable=False),
    Column("name", String(500), nullable=False),
    Column("artifact_location", String(1000), nullable=False),
    Column("source_run_id", String(32)),
)

registered_models = Table(
    "registered_models",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("creation_time", BigInteger),
    Column("last_updated_time", BigInteger),
    Column("description", String(5000)),
)

registered_model_tags = Table(
    "registered_model_tags",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("key", String(250), primary_key=True),
    Column("value", String(5000)),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("creation_time", BigInteger),
    Column("last_updated_time", BigInteger),
    Column("description", String(5000)),
    Column("user_id", String(256)),
    Column("current_stage", String(20)),
    Column("source", String(500)),
    Column("storage_location", String(500)),
    Column("run_id", String(32)),
    Column("run_link", String(500)),
    Column("status", String(20)),
    Column("status_message", String(500)),
)

model_version_tags = Table(
    "model_version_tags",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("key", String(250), primary_key=True),
    Column("value", Text),
)

registered_model_aliases = Table(
    "registered_model_aliases",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("alias", String(256), primary_key=True),
    Column("version", Integer, nullable=False),
)

model_places = Table(  # ours: where the files of a registered model are that are not in the artifact container
    "smalt_model_places",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("place", Text, primary_key=True),  # {name}.{version}
    Column("container", Text, nullable=False),
    Column("path", Text, nullable=False),
)

accounts = Table(  # ours: which storage account a workspace's artifacts are in, for MLflow's process
    "smalt_accounts",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("account", Text, nullable=False),
)

changed_runs = Table(  # ours: runs that were made or changed since their jobs were last made alike (`arm/runs.py`)
    "smalt_changed_runs",
    metadata,
    # grows with every change, so that a later one is not forgotten
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("run_uuid", Text, nullable=False),
    UniqueConstraint("run_uuid"),
    sqlite_autoincrement=True,
)

creations = Table(  # ours: runs whose creator has no answer yet (`run_creation.py`)
    "smalt_creations",
    metadata,
    Column("attempt", Text, primary_key=True),
    Column("request", Text, nullable=False),
    Column("run_uuid", Text, nullable=False),  # '': it was given up, and can make no run any more
    Column("at", Double, nullable=False),
)
ATTEMPT = "smalt.attempt"  # the tag by which a creation says {request}/{number}; it is no tag of the run
