"""The job that a step becomes: its properties as a client would send them, once it is known what its inputs are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines.components import DATA, PRIMITIVE
from smalt.kinds.jobs.pipelines.graph import REHEARSED, Graph, Step
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.kinds.jobs.pipelines.step_types import type_of
from smalt.store.document import part

_STORE = "workspaceblobstore"
_COMPONENT = "azureml.moduleName"  # by which users tell the steps of a pipeline apart
_DEFAULT_STORE = re.compile(r"\$\{\{\s*default_datastore\s*\}\}")
_MODES = {"ro_mount": "ReadOnlyMount", "rw_mount": "ReadWriteMount", "download": "Download", "upload": "Upload",
          "direct": "Direct", "eval_mount": "EvalMount", "eval_download": "EvalDownload"}  # fmt: skip


def literal(value: str) -> Document:
    return {"jobInputType": "literal", "value": value}


def files(uri: str, type_: str, mode: str | None) -> Document:
    found: Document = {"jobInputType": type_ if type_ in DATA else "uri_folder", "uri": uri}
    return found | ({"mode": job_mode(mode)} if mode else {})


def job_mode(given: str, mount: str = "ReadOnlyMount") -> str:
    """YAML's spelling, which components have, as that of a job, which is all that clients read there.

    `mount`: what that word alone means, which it has from the first version's components.
    """
    return mount if given.lower() == "mount" else _MODES.get(given.lower(), given)


def known(given: Document) -> Document:
    """The input of a job that a step's input is which no other step makes."""
    if "value" in given:
        return literal(given["value"]) | ({REHEARSED: True} if given.get(REHEARSED) else {})
    return files(given["uri"], given["type"], given.get("mode"))


def properties(graph: Graph, step: Step, inputs: Mapping[str, Document], settings: Settings) -> Document:
    """Of the job that `step` is, with these inputs."""
    component, own = graph.component(step), dict(step.settings)
    compute = own.pop("computeId", None) or settings.compute
    return {
        **({"identity": settings.identity} if settings.identity else {}),
        **(job := type_of(step).job(component, own, settings)),
        "properties": {_COMPONENT: component.name, **part(job, "properties")},
        "displayName": step.display,
        "componentId": component.id,
        "inputs": dict(inputs),
        "outputs": {name: _output(output, settings) for name, output in step.outputs.items()},
        **({"computeId": compute} if compute else {}),
    }


def _output(output: Document, settings: Settings) -> Document:
    type_ = "uri_file" if str(output.get("type")).lower() in PRIMITIVE else output.get("type", "uri_folder")
    uri = output.get("uri")
    if not uri and settings.datastore != _STORE:
        end = "" if type_ == "uri_file" else "/"
        uri = f"azureml://datastores/{settings.datastore}/paths/azureml/${{{{name}}}}/${{{{output_name}}}}{end}"
    found: Document = {
        "jobOutputType": type_,
        "mode": job_mode(output["mode"], mount="ReadWriteMount") if output.get("mode") else None,
        "uri": filled(uri, settings) if uri else None,
        "assetName": output.get("assetName"),
        "assetVersion": output.get("assetVersion"),
    }
    return {key: value for key, value in found.items() if value is not None}


def filled(uri: str, settings: Settings) -> str:
    return _DEFAULT_STORE.sub(lambda found: settings.datastore, uri)
