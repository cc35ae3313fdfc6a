"""What jobs of all types have in common: the words of the protocol, and a job type's declaration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError
from sqlalchemy import Connection

from smalt.arm.kind import Admitted, Document, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, Texts
from smalt.store.resources import Row

TERMINAL = frozenset({"Completed", "Failed", "Canceled"})
CANCEL = "cancel"  # in a spec's own part: the user wants it to end
AUTHOR = "author"  # in a spec's own part: whose it is (`authors.py`)
PARENT, ROOT = "parent", "root"  # in a child's: the names of the job that submitted it, and of the one that nobody did
ROUND = "round"  # in a child's: the job of the loop's round that it is, or is a part of
AGAIN = "again"  # in a pipeline's: the name of the job that it is once more (`again.py`)
LATEST = "latest"  # in a parent's: what the label meant when it was taken, by TYPE/NAME; it is so for all below it
REUSED = "reused"  # in a spec's own part: an earlier job did its work, and nothing of it runs
IDENTITIES = ("AMLToken", "Managed", "UserIdentity")
POSITION = "smalt.queue_position"  # a property that is shown and not kept: from 1, of a job that waits for nodes
HOLD = "smalt.hold"  # a property that users write: an ISO 8601 duration for which a failed job's nodes stay
FOLDERS = ("uri_folder", "mltable", "mlflow_model")  # types of inputs and outputs that are no single file
MODES = {
    "readonlymount": "ro_mount", "ro_mount": "ro_mount", "download": "download", "direct": "direct",
    "evalmount": "eval_mount", "eval_mount": "eval_mount", "evaldownload": "eval_download",
    "eval_download": "eval_download", "readwritemount": "rw_mount", "rw_mount": "rw_mount", "upload": "upload",
}  # fmt: skip


def _storable(given: str) -> str:
    if "\0" in given:
        raise PydanticCustomError("nul", "this holds a NUL character, which cannot be stored")
    return given


def _not_blank(given: str) -> str:
    if given and given.isspace():
        raise PydanticCustomError("blank", "this has nothing but spaces")
    return given


StoredText = Annotated[str, AfterValidator(_storable)]  # what is a column of MLflow's, too
WrittenText = Annotated[str, AfterValidator(_not_blank)]


class JobInput(Properties):
    job_input_type: str
    uri: str | None = None
    value: str | None = None
    mode: str | None = None


class JobOutput(Properties):
    job_output_type: str = "uri_folder"
    uri: str | None = None
    mode: str | None = None
    asset_name: str | None = None
    asset_version: str | None = None


def _identity(given: str) -> str:
    """As the service spells it: clients read no job whose identity is another, nor a list with it."""
    known = next((one for one in IDENTITIES if one.lower() == given.lower()), None)
    if known is None:
        raise PydanticCustomError("identity", "it is one of AMLToken, Managed, UserIdentity")
    return known


class JobIdentity(Properties):
    identity_type: Annotated[str, AfterValidator(_identity)]


class JobProperties(Properties):
    job_type: str
    display_name: StoredText | None = None
    experiment_name: StoredText | None = None
    description: str | None = None
    compute_id: str | None = None
    identity: JobIdentity | None = None
    is_archived: bool | None = None
    tags: Texts | None = None
    properties: Texts | None = None
    services: dict[str, dict[str, Any] | None] | None = None


@dataclass(frozen=True)
class JobType:
    """`admit` checks and completes the properties of a new job; `step` is one pass of its reconciler.

    `fail` is what becomes of one whose steps raise for good (`Kind.fail`). `fixed` are the properties that
    cannot change once the job exists. `run_type` is run history's word for it.
    """

    name: str
    properties: type[BaseModel]
    admit: Callable[[Request, Connection, dict[str, Any]], Admitted]
    step: Callable[[Platform, Row], Step]
    fail: Callable[[Platform, Row, Document], Step]
    fixed: tuple[str, ...] = ()
    run_type: str = "azureml.commandjob"


TYPES: dict[str, JobType] = {}  # by name; `job.py` fills it
