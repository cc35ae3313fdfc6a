"""What a job uses is what it was when the job was taken; its start looks nothing up."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from fakes.jobs import submit
from fakes.platform import WORKSPACE, Harness
from smalt.kinds.assets import references
from smalt.kinds.jobs import admission

DATA = f"{WORKSPACE}/data/customers/versions"
CODE = f"{WORKSPACE}/codes/train/versions/1"
STORE = "azureml://datastores/workspaceblobstore/paths"


def data(harness: Harness, version: str) -> None:
    properties = {"dataUri": f"{STORE}/customers/{version}/", "dataType": "uri_folder"}
    assert harness.put(f"{DATA}/{version}", {"properties": properties}).status_code == 201


def test_a_start_calls_no_resolver(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    data(harness, "1")
    assert harness.put(CODE, {"properties": {"codeUri": f"{STORE}/code/"}}).status_code == 201
    answer = submit(
        harness,
        codeId=CODE,
        inputs={"customers": {"jobInputType": "uri_folder", "uri": "azureml:customers@latest"}},
        outputs={"model": {"jobOutputType": "uri_folder"}},
        command="python train.py ${{inputs.customers}} ${{outputs.model}}",
    )
    assert answer.status_code == 201
    assert answer.json()["properties"]["inputs"]["customers"]["uri"].endswith("/data/customers/versions/1")
    data(harness, "2")

    def never(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a start looks nothing up")

    for module, names in (
        (references, ("asset", "parse_asset", "locate", "_locate")),
        (admission, ("inputs", "outputs", "code", "input_source")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, never)
    harness.settle()
    (task,) = harness.engine.tasks.values()
    (given,) = task.inputs
    assert given.source.name.endswith("customers/1/") and task.code.name.endswith("code/")
    (output,) = task.outputs
    assert output.uri.endswith("/azureml/train-1/model/")


@pytest.mark.parametrize("end", ["", "/"])
def test_all_of_a_container_has_no_name(harness: Harness, end: str) -> None:
    """An object store has nothing below `/`."""
    assert harness.put(CODE, {"properties": {"codeUri": f"{STORE}{end}"}}).status_code == 201
    given = {"jobInputType": "uri_folder", "uri": f"{STORE}{end}"}
    assert submit(harness, codeId=CODE, inputs={"all": given}, command="ls ${{inputs.all}}").status_code == 201
    harness.settle()
    (task,) = harness.engine.tasks.values()
    (one,) = task.inputs
    assert task.code and one.source and (task.code.name, one.source.name) == ("", "")
