"""The driver of a parallel job as a task's process: its settings as a file, with paths for names; what is started."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from smalt.agent.inject.parallel.settings import options
from smalt.agent.parallel_spec import ParallelSpec
from smalt.agent.render import render
from smalt.agent.wire import OutputSpec

START = Path(__file__).parent / "inject" / "parallel" / "start.py"
APPENDED_FILE = "parallel_run_step.txt"  # in an output that is a folder, unless --append_row_file_name says another
_CONFIG = "parallel.json"
_MARK = re.compile("\ue000(\\d+)\ue001")


def prepare_parallel(
    spec: ParallelSpec, outputs: Sequence[OutputSpec], inputs: Mapping[str, str], places: Mapping[str, str], own: Path
) -> list[str]:
    """What to run. `inputs` and `places` (of outputs): their paths, by name. Raises UnknownReference.

    `own` is what the process sees of the task's folder; the code is below it, in `work`.
    """
    work, arguments = own / "work", words(spec.arguments, inputs, places)
    file = options(arguments).get("append_row_file_name", APPENDED_FILE)
    config = {
        **spec.settings,
        "script": str(work / spec.script) if spec.script else "",
        "arguments": arguments,
        "model": inputs.get(spec.model, ""),
        "input": inputs[spec.input],
        "table": spec.table and {**spec.table, "paths": [_path(one, inputs) for one in spec.table["paths"]]},
        "append_to": _appended(spec.append_to, outputs, places, file),
        "outputs": dict(places),
        "logs": str(work / "logs"),
    }
    (own / _CONFIG).write_text(json.dumps(config))
    return ["python", str(START), "run", str(own / _CONFIG)]


def words(arguments: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> list[str]:
    """The arguments as a shell would split them; a value is never more than one word. Raises UnknownReference."""
    values: list[str] = []

    def marked(known: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in known.items():
            found[name] = f"\ue000{len(values)}\ue001"
            values.append(value)
        return found

    text = render(arguments, marked(inputs), marked(outputs))
    try:
        split = shlex.split(text)
    except ValueError:  # a quotation that does not end
        split = text.split()
    return [_MARK.sub(lambda found: values[int(found[1])], one) for one in split]


def _path(one: Mapping[str, str], inputs: Mapping[str, str]) -> dict[str, str]:
    return {"kind": one["kind"], "at": one["at"], "root": inputs[one["input"]]}


def _appended(name: str, outputs: Sequence[OutputSpec], places: Mapping[str, str], file: str) -> str:
    if not name:
        return ""
    is_file = any(one.name == name and one.type == "uri_file" for one in outputs)
    return places[name] if is_file else str(Path(places[name], Path(file).name))
