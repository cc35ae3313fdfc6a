"""What a pipeline says for all of its steps: `settings` of its document, and its compute."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pydantic.alias_generators import to_snake

from smalt.arm.errors import invalid
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import Document
from smalt.store.document import part

FIELD = "properties.settings"
_STORE = "workspaceblobstore"


@dataclass(frozen=True)
class Settings:
    """`compute` of steps that name none; `datastore` of outputs without a place; whether to go on after a failure;

    whether a step runs without an optional input that could not be made; whether steps run again that could be reused;
    the names of the steps before and after all others; the identity of steps that say none.
    """

    compute: str = ""
    datastore: str = _STORE
    go_on: bool = False
    without_optional: bool = True
    force: bool = False
    on_init: str = ""
    on_finalize: str = ""
    identity: Document = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Self:
        """Raises ArmError(400)."""
        given = {to_snake(key): value for key, value in part(properties, "settings").items() if value is not None}
        return cls(
            str(properties.get("computeId") or given.get("default_compute") or ""),
            _name(str(given.get("default_datastore") or given.get("default_datastore_name") or _STORE)),
            _flag(given, "continue_on_step_failure", False),
            _flag(given, "continue_run_on_failed_optional_input", True),
            _flag(given, "force_rerun", False),
            str(given.get("on_init") or ""),
            str(given.get("on_finalize") or ""),
            part(properties, "identity"),
        )

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        return cls(**document)

    def document(self) -> Document:
        return asdict(self)

    def told(self, inputs: Mapping[str, Document]) -> dict[str, str]:
        """What Azure's clients and its Studio read of a pipeline among its job's `properties`.

        `inputs`: the pipeline's own, as its job has them.
        """
        literals = {name: one.get("value") for name, one in inputs.items() if one.get("jobInputType") == "literal"}
        told = {
            "azureml.runsource": "azureml.PipelineRun",
            "azureml.pipelineComponent": "pipelinerun",
            "azureml.parameters": json.dumps(literals),
            "azureml.continue_on_step_failure": str(self.go_on),
            "azureml.continue_on_failed_optional_input": str(self.without_optional),
            "azureml.enforceRerun": str(self.force),
            "azureml.defaultDataStoreName": self.datastore,
        }
        return {**told, "azureml.defaultComputeName": _name(self.compute)} if self.compute else told

    def inherited(self, force: bool) -> Document:
        """As the `settings` of a pipeline that is a step of this one."""
        return {
            "default_compute": self.compute or None,
            "default_datastore": self.datastore,
            "continue_on_step_failure": self.go_on,
            "continue_run_on_failed_optional_input": self.without_optional,
            "force_rerun": self.force or force,
        }


def _name(given: str) -> str:
    try:
        return ResourceId.parse(given.removeprefix("azureml:")).name
    except NotAnId:
        return given.removeprefix("azureml:")


def _flag(given: Mapping[str, Any], key: str, default: bool) -> bool:
    said = str(given.get(key, default)).lower()
    if said not in ("true", "false"):
        raise invalid(f"{FIELD}.{key}: {said[:80]!r} is neither true nor false.", f"{FIELD}.{key}")
    return said == "true"
