"""Pipelines on a platform of fakes: components, documents as the official client writes them, and steps that end."""

from __future__ import annotations

from typing import Any

from fakes.examples import CURATED
from fakes.jobs import JOBS
from fakes.platform import WORKSPACE, Harness
from smalt.kinds.jobs.pipelines.graph import child_name

COMPONENTS = f"{WORKSPACE}/components"
FOLDER = "azureml://datastores/workspaceblobstore/paths/raw/"


def component(harness: Harness, name: str, version: str = "1", anonymous: bool = False, **spec: Any) -> str:
    """Its id. Without `inputs` and `outputs` it takes a folder and a number, and makes a folder."""
    inputs = {"data": {"type": "uri_folder"}, "rate": {"type": "number", "default": "0.1"}}
    written = {
        "type": "command",
        "command": "python step.py",
        "environment": CURATED,
        "inputs": inputs,
        "outputs": {"made": {"type": "uri_folder"}},
        "is_deterministic": True,
        **spec,
    }
    url = f"{COMPONENTS}/{name}/versions/{version}"
    answer = harness.put(url, {"properties": {"componentSpec": written, "isAnonymous": anonymous}})
    assert answer.status_code in (200, 201), answer.text
    return url


def literal(value: Any) -> dict[str, Any]:
    return {"value": str(value), "job_input_type": "literal"}


def node(component: str, type: str = "command", outputs: Any = None, more: Any = None, **inputs: Any) -> dict[str, Any]:
    """A step: inputs that are texts are literals or bindings."""
    given = {name: one if isinstance(one, dict) else literal(one) for name, one in inputs.items()}
    bound = {
        name: {"value": one, "type": "literal"} if isinstance(one, str) else one
        for name, one in (outputs or {}).items()
    }
    return {"type": type, "componentId": component, "inputs": given, "outputs": bound, **(more or {})}


def submit(harness: Harness, jobs: Any, name: str = "pipe", **properties: Any) -> Any:
    body = {"jobType": "Pipeline", "jobs": jobs, **properties}
    return harness.put(f"{JOBS}/{name}", {"properties": body})


def data(uri: str = FOLDER, type: str = "uri_folder") -> dict[str, Any]:
    return {"jobInputType": type, "uri": uri}


def job_of(harness: Harness, step: str, pipeline: str = "pipe", turn: int = 0) -> str:
    return child_name(harness.row(f"{JOBS}/{pipeline}"), step, turn)


def child(harness: Harness, step: str, pipeline: str = "pipe", turn: int = 0) -> Any:
    """The document of a step's job; None: it was not submitted."""
    answer = harness.get(f"{JOBS}/{job_of(harness, step, pipeline, turn)}")
    return answer.json()["properties"] if answer.status_code == 200 else None


def running(harness: Harness) -> dict[str, str]:
    """The tasks that run now, by the display names of their jobs."""
    found = {}
    for name, state in harness.engine.states.items():
        if state.outcome is None:
            row = harness.row(harness.engine.tasks[name].owner)
            found[row.properties["displayName"]] = name
    return found


def end(harness: Harness, *steps: str, exit_code: int = 0) -> None:
    """These steps, which run, end; each leaves a file in each of its outputs if it went well."""
    harness.settle()
    tasks = running(harness)
    for step in steps:
        task = tasks[step]
        if exit_code == 0:
            for output in harness.engine.tasks[task].outputs:
                leave(harness, output)
        harness.engine.finish(task, exit_code)
    look(harness)


def says(harness: Harness, name: str = "says", **outputs: str) -> str:
    """A component whose outputs are values of these types."""
    inputs = {"count": {"type": "integer", "default": "0"}}
    return component(harness, name, inputs=inputs, outputs={key: {"type": type_} for key, type_ in outputs.items()})


def say(harness: Harness, step: str, **values: Any) -> None:
    """The running step ends, having written these values."""
    harness.settle()
    task = running(harness)[step]
    for output in harness.engine.tasks[task].outputs:
        if output.name in values:
            leave(harness, output, f"{values[output.name]}\n")
    harness.engine.finish(task, 0)
    look(harness)


def leave(harness: Harness, output: Any, text: str = "made") -> None:
    target = output.target if output.type == "uri_file" else output.target.below("part.txt")
    harness.blobs.write(target, text.encode())


def look(harness: Harness) -> None:
    harness.settle()
    harness.clock.pass_(1.0)  # the pipeline looks a moment later where many steps are open
    harness.settle()


def run_to_the_end(harness: Harness) -> list[str]:
    """The steps in the order in which they ended."""
    order: list[str] = []
    harness.settle()
    while steps := sorted(running(harness)):
        end(harness, *steps)
        order += steps
    look(harness)
    return order
