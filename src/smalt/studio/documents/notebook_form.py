"""A notebook as a command job: papermill runs it with its parameters, and what its cells said is an artifact.

The convention is papermill's: a cell with the tag `parameters` has the defaults, and what is given is a cell after it.
"""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Mapping

from smalt.store.document import Document
from smalt.studio.documents import job_form
from smalt.studio.documents.written import Fault, Faulty

ENVIRONMENT = "azureml:compute-instance@latest"  # has papermill and nbconvert
PROPERTY = "smalt.notebook"  # of the job: where among its artifacts the notebook is that ran
_NAME = re.compile(r"[^$\\/\x00-\x1f\x7f]{1,249}\.ipynb")
_NAME_BYTES_MOST = 255  # of a file
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SAID_BY_SHELL = re.compile(r'["`$\\\x00-\x1f]')
RAW = "text"  # the kind of a parameter that stays a text, whatever it looks like


def document(fields: Mapping[str, str]) -> Document:
    """Rows `parameter-name-N`, `parameter-value-N`, `parameter-kind-N`; one without a value keeps the notebook's.

    Raises Faulty.
    """
    name = fields.get("notebook", "")
    if not _NAME.fullmatch(name) or len(name.encode(errors="replace")) > _NAME_BYTES_MOST:
        wanted = f"whose name ends with .ipynb, has no $ or \\, and at most {_NAME_BYTES_MOST} bytes"
        raise Faulty([Fault(("notebook",), f"Choose a notebook, {wanted}.")])
    if not fields.get("code"):
        raise Faulty([Fault(("notebook",), f"{name} was not uploaded: choose it again.")])
    inputs: dict[str, str] = {}
    options: list[str] = []
    for one in sorted(fields):
        if not (row := re.fullmatch(r"parameter-name-(\d{1,3})", one)) or not (parameter := fields[one].strip()):
            continue
        value = fields.get(f"parameter-value-{row[1]}", "").strip()
        if not _PARAMETER.fullmatch(parameter):
            raise Faulty([Fault((parameter,), f"'{parameter[:80]}' is not the name of a parameter.")])
        if _SAID_BY_SHELL.search(value):
            message = f"{parameter}: a value with quotes, $, \\ or line breaks is not given here; go on in YAML."
            raise Faulty([Fault((parameter,), message)])
        if value:
            flag = "-r" if fields.get(f"parameter-kind-{row[1]}") == RAW else "-p"
            inputs[parameter] = value
            options.append(f'{flag} {parameter} "${{{{inputs.{parameter}}}}}"')
    places = (_path(f"./{name}"), _path(f"outputs/{name}"), glob.escape(f"outputs/{name}"))
    run, ran, left = map(shlex.quote, places)
    given = " ".join((f"papermill -k python3 --log-output --no-progress-bar {run} {ran}", *options))
    command = f"mkdir -p outputs\n{given}\ncode=$?\njupyter nbconvert --to html {left}\nexit $code"
    ports = {f"input-{part}-{at}": said for at, one in enumerate(inputs.items(), 1) for part, said in _input(*one)}
    plain = {key: value for key, value in fields.items() if not key.startswith("parameter-")}
    made = job_form.document({"environment": ENVIRONMENT, **plain, **ports, "command": command})
    return {**made, "properties": {PROPERTY: f"outputs/{name}"}}


def _path(name: str) -> str:
    """As papermill takes it, which puts parameters into the braces of a path."""
    return name.replace("{", "{{").replace("}", "}}")


def _input(name: str, value: str) -> tuple[tuple[str, str], ...]:
    return ("name", name), ("type", job_form.LITERAL), ("value", value)
