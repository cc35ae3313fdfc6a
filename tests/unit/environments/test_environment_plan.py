"""Planning: keys, interpreters, images, curated names; nothing here starts a process."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from smalt.arm.errors import ArmError
from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec
from smalt.environments import UvEnvironments
from smalt.environments.uv.build import shipped_lock
from smalt.environments.uv.images import read_image
from smalt.environments.uv.interpreters import Interpreter, choose, find_interpreters
from smalt.environments.uv.layout import VARIABLE
from smalt.environments.uv.locks import read_lock, versions
from smalt.settings import Settings

CONDA = "dependencies: [python=3.11, pip, 'numpy<2', pip: [tabulate==0.9.0]]"


@pytest.fixture
def environments(tmp_path: Path) -> UvEnvironments:
    return UvEnvironments(Settings(tmp_path), {"HOME": str(tmp_path), "PATH": "/usr/bin"})


def interpreters(*minors: int) -> tuple[Interpreter, ...]:
    return tuple(Interpreter(f"3.{minor}", Path(f"/usr/bin/python3.{minor}")) for minor in minors)


def test_the_key_is_of_what_is_asked_not_of_how_it_is_written(environments: UvEnvironments) -> None:
    key = environments.plan(EnvironmentSpec(conda_file=CONDA)).key
    again = "name: other\nchannels: [x]\ndependencies:\n- python=3.11\n- numpy <2\n- pip\n- pip: [Tabulate == 0.9.0]\n"
    assert environments.plan(EnvironmentSpec(name="n", conda_file=again)).key == key
    other = environments.plan(EnvironmentSpec(conda_file=CONDA.replace("0.9.0", "0.8.9"))).key
    assert other != key
    assert len(key) == 40 and set(key) <= set("0123456789abcdef")


def test_pips_pin_replaces_condas(environments: UvEnvironments) -> None:
    plan = environments.plan(
        EnvironmentSpec(conda_file="dependencies: [numpy=1.21, scipy=1.9, pip: [numpy==1.24.0, scipy]]")
    )
    assert plan.definition["conda"] == ["scipy==1.9.*"]
    assert plan.definition["pip"] == ["numpy==1.24.0", "scipy"]


def test_conda_brings_setuptools_with_pkg_resources(environments: UvEnvironments) -> None:
    assert "setuptools<81" in environments.plan(EnvironmentSpec(conda_file=CONDA)).definition["seeds"]
    own = CONDA.replace("tabulate", "setuptools==82.0.0, tabulate")
    assert "setuptools<81" not in environments.plan(EnvironmentSpec(conda_file=own)).definition["seeds"]


def test_serving_is_another_key_only_if_the_server_needs_packages(environments: UvEnvironments) -> None:
    spec = EnvironmentSpec(conda_file=CONDA)
    plain, serving = environments.plan(spec), environments.plan(spec, serving=True)
    assert (serving.key == plain.key) == (not serving.definition["serving"])
    assert serving.definition["plain_key"] == plain.key


def test_the_task_carries_the_index_configuration_but_not_on_the_command_line(tmp_path: Path) -> None:
    variables = {"UV_INDEX_URL": "https://u:secret@index.example/simple", "HTTPS_PROXY": "http://p:1", "OTHER": "x"}
    environments = UvEnvironments(Settings(tmp_path), variables)
    plan = environments.plan(EnvironmentSpec(conda_file=CONDA))
    task = environments.task(plan, "/subscriptions/s/jobs/j", 2)
    assert task.name == f"build-{plan.key[:16]}-a2"
    assert task.owner == "/subscriptions/s/jobs/j"
    assert task.log == environments.log(plan.key)
    assert task.variables["UV_INDEX_URL"] == variables["UV_INDEX_URL"]
    assert task.variables["HTTPS_PROXY"] == "http://p:1"
    assert "OTHER" not in task.variables
    assert "secret" not in " ".join(task.argv)
    assert json.loads(task.variables[VARIABLE]) == dict(plan.definition)


def test_nothing_is_built_and_no_cause_is_known_at_first(environments: UvEnvironments) -> None:
    assert environments.built("0" * 40) is None
    assert "killed" in environments.failure("0" * 40)


@pytest.mark.parametrize(
    ("specifier", "chosen", "exact"),
    [
        ("", "3.11", True),
        ("==3.9.*", "3.9", True),
        ("==3.9.18.*", "3.9", True),
        ("==3.9", "3.9", True),
        ("==3.8.*", "3.9", False),
        ("==3.10.*", "3.11", False),
        ("==3.14.*", "3.12", False),
        ("==2.7.*", "3.9", False),
        (">=3.9", "3.11", True),
        (">=3.12", "3.12", True),
        (">=3.7,<3.10", "3.9", True),
        ("<3.12,>=3.9", "3.11", True),
        ("==3.*", "3.11", True),
        ("~=3.12.0", "3.12", True),
        (">3.11", "3.11", True),
    ],
)
def test_the_interpreter_asked_for_or_the_nearest(specifier: str, chosen: str, exact: bool) -> None:
    choice = choose(interpreters(9, 11, 12), specifier, "3.11")
    assert (choice.interpreter.version, choice.exact) == (chosen, exact)


def test_shims_and_virtual_environments_are_no_interpreters(tmp_path: Path) -> None:
    shims, venv, real = tmp_path / "shims", tmp_path / "venv" / "bin", tmp_path / "real" / "bin"
    for folder in (shims, venv, real):
        folder.mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    (shims / "python3.8").write_bytes(b"#!/usr/bin/env bash\n")
    (venv / "python3.9").write_bytes(b"\x7fELF")
    (real / "python3.10").write_bytes(b"\x7fELF")
    (real / "python3.6").write_bytes(b"\x7fELF")
    for one in (shims / "python3.8", venv / "python3.9", real / "python3.10", real / "python3.6"):
        one.chmod(0o755)
    found = find_interpreters({"HOME": str(tmp_path), "PATH": f"{shims}:{venv}:{real}"})
    paths = {one.version: one.path for one in found}
    assert paths["3.10"] == real / "python3.10"
    assert shims / "python3.8" not in paths.values()
    assert venv / "python3.9" not in paths.values()
    assert "3.6" not in paths


def test_pyenvs_interpreters_are_found(tmp_path: Path) -> None:
    folder = tmp_path / ".pyenv" / "versions" / "3.8.18" / "bin"
    folder.mkdir(parents=True)
    (folder / "python3.8").write_bytes(b"\x7fELF")
    (folder / "python3.8").chmod(0o755)
    assert folder / "python3.8" in [one.path for one in find_interpreters({"HOME": str(tmp_path), "PATH": ""})]


@pytest.mark.parametrize(
    ("image", "python"),
    [
        ("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest", ""),
        ("mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04:20220113.v1", ""),
        ("mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04", ""),
        ("mcr.microsoft.com/azureml/minimal-ubuntu22.04-py39-cpu-inference:latest", "3.9"),
        ("mcr.microsoft.com/azureml/minimal-py312-inference@sha256:abcd", "3.12"),
        ("python:3.10-slim", "3.10"),
        ("python", ""),
        ("docker.io/library/python:3.11.6", "3.11"),
        ("library/python:latest", ""),
        ("continuumio/miniconda3", ""),
    ],
)
def test_plain_python_bases(image: str, python: str) -> None:
    found = read_image(image)
    assert found.ground and found.plain
    assert found.python == python


@pytest.mark.parametrize(
    "image",
    [
        "docker.io/tensorflow/serving:latest",
        "pytorch/pytorch:latest",
        "me.azurecr.io/python:3.11",
        "mcr.microsoft.com/azureml/promptflow/promptflow-runtime:latest",
        "evil.example/mcr.microsoft.com/azureml/openmpi4",
        "localhost:5000/team/image",
    ],
)
def test_other_images_need_an_engine(environments: UvEnvironments, image: str) -> None:
    for spec in (EnvironmentSpec(image=image), EnvironmentSpec(image=image, conda_file=CONDA)):
        with pytest.raises(ArmError, match="container engine") as caught:
            environments.plan(spec)
        assert caught.value.status == 400
        assert image in caught.value.message


def test_an_image_alone_is_an_interpreter_with_pip(environments: UvEnvironments) -> None:
    plan = environments.plan(EnvironmentSpec(image="library/python:latest"))
    assert plan.definition["seeds"] == ["pip"]
    assert plan.definition["pip"] == plan.definition["conda"] == []


def test_an_operating_system_is_ground_for_a_conda_file_only(environments: UvEnvironments) -> None:
    assert environments.plan(EnvironmentSpec(image="ubuntu:22.04", conda_file=CONDA)).key
    with pytest.raises(ArmError, match="container engine"):
        environments.plan(EnvironmentSpec(image="ubuntu:22.04"))


def test_a_build_context_and_an_empty_specification_are_refused(environments: UvEnvironments) -> None:
    with pytest.raises(ArmError, match="Docker build context needs a container engine"):
        environments.plan(EnvironmentSpec(build_context=True, conda_file=CONDA))
    with pytest.raises(ArmError, match="neither an image nor a conda_file"):
        environments.plan(EnvironmentSpec(name="x"))


@pytest.mark.parametrize(
    "reference",
    [
        "AzureML-sklearn-1.5-ubuntu22.04-py311-cpu",
        "azureml-SKLEARN-1.5-ubuntu22.04-py311-cpu@latest",
        "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu:3",
        "sklearn-1.5",
        "azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
        "azureml://registries/azureml/environments/sklearn-1.5/versions/12",
    ],
)
def test_curated_names_in_all_their_forms(environments: UvEnvironments, reference: str) -> None:
    wanted = environments.plan(EnvironmentSpec(curated="sklearn-1.5"))
    plan = environments.plan(EnvironmentSpec(curated=reference))
    assert plan.key == wanted.key
    assert "numpy~=1.26.4" in plan.definition["pip"]


def test_a_curated_image_is_its_definition(environments: UvEnvironments) -> None:
    by_image = environments.plan(EnvironmentSpec(image="mcr.microsoft.com/azureml/curated/sklearn-1.5:12"))
    assert by_image.key == environments.plan(EnvironmentSpec(curated="sklearn-1.5")).key
    with pytest.raises(ArmError, match="container engine"):
        environments.plan(EnvironmentSpec(image="mcr.microsoft.com/azureml/curated/no-such:1"))


def test_an_unknown_curated_name_is_told_what_is_near(environments: UvEnvironments) -> None:
    with pytest.raises(ArmError, match=r"sklearn-1\.5") as caught:
        environments.plan(EnvironmentSpec(curated="sklearn-1.6"))
    assert caught.value.status == 400


def test_every_curated_definition_can_be_planned_and_shown(environments: UvEnvironments) -> None:
    shown = environments.curated()
    assert {"AzureML-sklearn-1.5-ubuntu22.04-py311-cpu", "sklearn-1.5", "AzureML-tensorflow-2.16-cuda12"} <= set(shown)
    for name, properties in shown.items():
        assert set(properties) == {"version", "image", "description", "conda_file", "tags"}
        spec = EnvironmentSpec(name=name, image=properties["image"], conda_file=properties["conda_file"])
        assert environments.plan(spec).key == environments.plan(EnvironmentSpec(curated=name)).key
        assert environments.plan(replace(spec, conda_file="")).key == environments.plan(spec).key


def test_the_shipped_lock_is_that_of_the_definition(tmp_path: Path) -> None:
    """After a change of the definition, run `python -m smalt.environments.uv.relock sklearn-1.5`."""
    environments = UvEnvironments(Settings(tmp_path))
    plan = environments.plan(EnvironmentSpec(curated="sklearn-1.5"))
    if plan.definition["python"] != "3.11":
        pytest.skip("this machine has no Python 3.11")
    lock = shipped_lock(plan.key)
    assert lock is not None
    resolution = read_lock(lock)
    assert resolution is not None
    found = versions(resolution.text)
    assert {name: found[name].split(".")[0] for name in ("pandas", "numpy", "mlflow")} == {
        "pandas": "1",
        "numpy": "1",
        "mlflow": "2",
    }
    assert {"azureml-inference-server-http", "azureml-mlflow", "joblib", "pip"} <= set(found)
    assert found["scikit-learn"].startswith("1.5.")


def test_faults_of_pip_requirements_name_the_line(environments: UvEnvironments) -> None:
    with pytest.raises(ArmError, match=r"'-r other\.txt' in pipRequirements") as caught:
        environments.plan(EnvironmentSpec(pip_requirements="numpy\n-r other.txt\n"))
    assert caught.value.target == "pipRequirements"


def test_variables_are_carried_beside_the_key(environments: UvEnvironments) -> None:
    plain = environments.plan(EnvironmentSpec(conda_file=CONDA))
    with_some = environments.plan(EnvironmentSpec(conda_file=CONDA + "\nvariables: {A: '1'}"), serving=True)
    assert plain.variables == {} and "variables" not in plain.document()
    assert with_some.variables == {"A": "1"} and EnvironmentPlan(**with_some.document()) == with_some
    assert environments.plan(EnvironmentSpec(conda_file=CONDA + "\nvariables: {A: '2'}")).key == plain.key
    assert environments.plan(EnvironmentSpec(curated="tensorflow-2.16")).variables == {"TF_USE_LEGACY_KERAS": "1"}
