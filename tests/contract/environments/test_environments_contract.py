"""What every environment builder must do, with real builds of small packages: run against each implementation.

Needs a package index (or a cache that has been filled); everything else is of this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from smalt.arm.errors import ArmError
from smalt.arm.ports import EnvironmentPlan, Environments, EnvironmentSpec
from smalt.environments import UvEnvironments
from smalt.environments.uv.layout import Layout
from smalt.settings import Settings


class Builder(Environments, Protocol):
    """What a node's engine is given of it, too."""

    def prefix(self, key: str) -> Path: ...


Make = Callable[..., Builder]
NO_PIP = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "", "PIP_EXTRA_INDEX_URL": ""}
DEAD = "http://127.0.0.1:9"
CUT_OFF = {**NO_PIP, "HTTPS_PROXY": DEAD, "HTTP_PROXY": DEAD, "ALL_PROXY": DEAD, "NO_PROXY": "", "UV_HTTP_RETRIES": "0"}
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
SMALL = EnvironmentSpec(name="small", pip_requirements="tabulate==0.9.0")


@pytest.fixture(params=[UvEnvironments], ids=["uv"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """`make(**variables)`: the builder on this test's root, on a machine with these variables besides its own."""

    def create(**variables: str) -> Builder:
        return request.param(Settings(tmp_path / "root"), {**os.environ, **variables})

    return create


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        if one.poll() is None:
            one.kill()
        one.wait()
        if one.stdout:
            one.stdout.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """An index that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"


def start(environments: Environments, plan: EnvironmentPlan, attempt: int = 1) -> subprocess.Popen[str]:
    """As an agent does it: argv, variables, its own process group."""
    task = environments.task(plan, "/owner", attempt)
    return subprocess.Popen(
        task.argv,
        env=variables(task.variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def variables(own: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **own}


def build(environments: Environments, plan: EnvironmentPlan, attempt: int = 1) -> tuple[int, str]:
    """Exit status and log."""
    process = start(environments, plan, attempt)
    log, _ = process.communicate(timeout=240)
    return process.returncode, log


def built(environments: Builder, plan: EnvironmentPlan) -> Path:
    """Its prefix."""
    assert environments.built(plan.key) is not None
    return environments.prefix(plan.key)


def notes(environments: Builder, plan: EnvironmentPlan) -> Sequence[str]:
    found = environments.built(plan.key)
    assert found is not None
    return found.notes


def lock_of(tmp_path: Path, plan: EnvironmentPlan) -> Path:
    return Layout(Settings(tmp_path / "root").envs).lock(plan.key)


def python(prefix: Path, code: str) -> str:
    command = [prefix / "bin" / "python", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_specification_becomes_an_environment(make: Make, tmp_path: Path) -> None:
    environments = make()
    plan = environments.plan(SMALL)
    assert environments.built(plan.key) is None
    code, log = build(environments, plan)
    assert code == 0, log
    found = environments.built(plan.key)
    assert found is not None and found.notes == ()
    assert python(environments.prefix(plan.key), "import tabulate; print(tabulate.__version__)") == "0.9.0"
    assert "tabulate==0.9.0" in lock_of(tmp_path, plan).read_text()
    assert "Built in" in log and "tabulate==0.9.0" in log
    assert make().plan(SMALL).key == plan.key
    assert make().built(plan.key) == found


def test_nothing_of_ours_and_nothing_else_is_in_it(make: Make) -> None:
    environments = make()
    plan = environments.plan(EnvironmentSpec(image="python:" + OWN))
    assert build(environments, plan)[0] == 0
    code = "import importlib.metadata as m; print(sorted(d.name for d in m.distributions()))"
    assert python(built(environments, plan), code) == "['pip']"


def test_a_package_that_cannot_be_had_fails_by_its_name(make: Make) -> None:
    environments = make()
    plan = environments.plan(EnvironmentSpec(pip_requirements="tabulate\nno-such-package-xyz"))
    code, log = build(environments, plan)
    assert code == 1
    assert environments.built(plan.key) is None
    failure = environments.failure(plan.key)
    assert failure.startswith("No version of 'no-such-package-xyz' can be had: not found in the package index.")
    assert len(failure.splitlines()) <= 2
    assert failure in log


def test_a_conflict_names_both_sides(make: Make) -> None:
    environments = make()
    plan = environments.plan(EnvironmentSpec(pip_requirements="tabulate==0.9.0\ntabulate>=0.10"))
    assert build(environments, plan)[0] == 1
    assert "tabulate==0.9.0, tabulate>=0.10" in environments.failure(plan.key)


def test_a_failure_is_forgotten_when_the_next_build_succeeds(make: Make, tmp_path: Path) -> None:
    environments = make(**NO_PIP, UV_OFFLINE="1")
    plan = environments.plan(SMALL)
    assert build(environments, plan)[0] == 1
    assert "tabulate" in environments.failure(plan.key) or "pip" in environments.failure(plan.key)
    assert build(make(), plan, attempt=2)[0] == 0
    assert built(environments, plan).is_dir()
    assert not list(tmp_path.rglob("*.failure.json"))


def test_two_builds_at_once_make_it_once(make: Make, processes: list[subprocess.Popen[str]]) -> None:
    environments = make()
    plan = environments.plan(SMALL)
    processes += [start(environments, plan, attempt) for attempt in (1, 2, 3)]
    logs = [one.communicate(timeout=240)[0] for one in processes]
    assert [one.returncode for one in processes] == [0, 0, 0], logs
    assert sum("Built in" in log for log in logs) == 1
    assert sum("is built already" in log for log in logs) == 2
    assert python(built(environments, plan), "import tabulate; print(1)") == "1"


@pytest.mark.parametrize("moment", ["Choosing versions", "Making the", "Installing", "Prepared", "+ "])
def test_killed_at_any_moment_what_looks_complete_is(
    make: Make, processes: list[subprocess.Popen[str]], moment: str
) -> None:
    environments = make()
    plan = environments.plan(EnvironmentSpec(pip_requirements="tabulate==0.9.0\nsix\nidna\nnumpy<2.3"))
    check = "import tabulate, six, idna, numpy; print(numpy.arange(3).sum())"
    first = start(environments, plan)
    processes.append(first)
    assert first.stdout is not None
    assert any(moment in line for line in first.stdout)
    first.kill()
    first.wait()
    early = environments.built(plan.key)
    assert early is None or python(early, check) == "3"  # it may have ended before the signal came
    code, log = build(environments, plan, attempt=2)
    assert code == 0, log
    assert python(built(environments, plan), check) == "3"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("stage", ["Choosing versions", "Installing"])
def test_ended_while_it_waits_for_the_index_nothing_stays_behind(
    make: Make, processes: list[subprocess.Popen[str]], silent: str, tmp_path: Path, stage: str, sent: signal.Signals
) -> None:
    environments = make(**NO_PIP)
    plan = environments.plan(SMALL)
    if stage == "Installing":  # so there is a lock, but neither an environment nor a cache
        assert build(environments, plan)[0] == 0
        shutil.rmtree(built(environments, plan))
        shutil.rmtree(tmp_path / "root" / "envs" / "cache")
    first = start(make(**NO_PIP, UV_DEFAULT_INDEX=silent, UV_HTTP_TIMEOUT="200"), plan)
    processes.append(first)
    assert first.stdout is not None
    assert any(stage in line for line in first.stdout)
    first.send_signal(sent)
    rest, _ = first.communicate(timeout=20)  # which ends when uv, too, has let go of the pipe
    assert first.returncode == (128 + sent if sent is signal.SIGTERM else -sent)
    assert ("Stopped" in rest) == (sent is signal.SIGTERM)
    assert environments.built(plan.key) is None
    code, log = build(environments, plan, attempt=2)  # would wait for ever if an orphan held the lock
    assert code == 0, log
    assert python(built(environments, plan), "import tabulate; print(tabulate.__version__)") == "0.9.0"


def test_built_again_from_its_lock_without_a_network(make: Make, tmp_path: Path) -> None:
    environments = make(**NO_PIP)
    plan = environments.plan(SMALL)
    assert build(environments, plan)[0] == 0
    lock = lock_of(tmp_path, plan)
    before = lock.read_bytes()
    shutil.rmtree(built(environments, plan))
    assert environments.built(plan.key) is None
    cut_off = make(**CUT_OFF)
    code, log = build(cut_off, plan, attempt=2)
    assert code == 0, log
    assert lock.read_bytes() == before
    assert python(built(environments, plan), "import tabulate; print(tabulate.__version__)") == "0.9.0"


def test_the_lock_decides_for_ever(make: Make, tmp_path: Path) -> None:
    environments = make()
    plan = environments.plan(EnvironmentSpec(pip_requirements="tabulate"))
    older = environments.plan(EnvironmentSpec(pip_requirements="tabulate==0.8.10"))
    assert build(environments, older)[0] == 0
    lock = lock_of(tmp_path, older)
    lock.with_name(f"{plan.key}.txt").write_text(lock.read_text())  # as if this key had been resolved years ago
    assert build(environments, plan)[0] == 0
    assert python(built(environments, plan), "import tabulate; print(tabulate.__version__)") == "0.8.10"


def test_without_a_network_the_cache_has_to_do(make: Make) -> None:
    assert build(make(**NO_PIP), make().plan(SMALL))[0] == 0
    cut_off = make(**CUT_OFF)
    other = cut_off.plan(EnvironmentSpec(pip_requirements="tabulate"))
    code, log = build(cut_off, other)
    assert code == 0, log
    unknown = cut_off.plan(EnvironmentSpec(pip_requirements="six"))
    assert build(cut_off, unknown)[0] == 1
    assert "cannot be reached" in cut_off.failure(unknown.key) and "six" in cut_off.failure(unknown.key)


def test_a_python_that_the_machine_lacks_is_replaced_and_pins_give_way(make: Make, tmp_path: Path) -> None:
    environments = make(HOME=str(tmp_path), PATH="/nowhere", PYENV_ROOT=str(tmp_path / "none"))
    conda = "dependencies: [python=3.6, pip, pip: [tabulate==0.8.9, psutil==5.6.0]]"
    plan = environments.plan(EnvironmentSpec(conda_file=conda))
    code, log = build(environments, plan)
    assert code == 0, log
    said = notes(environments, plan)
    assert any(note.startswith("Python 3.6 was asked for") for note in said)
    assert any(note.startswith("psutil==5.6.0 was relaxed to psutil==5.") for note in said)
    assert len(said) == 2
    for note in said:
        assert note in log
    assert python(built(environments, plan), "import tabulate; print(tabulate.__version__)") == "0.8.9"


def test_pure_python_without_a_wheel_is_built_from_source(make: Make) -> None:
    environments = make()
    plan = environments.plan(EnvironmentSpec(pip_requirements="docopt==0.6.2"))
    code, log = build(environments, plan)
    assert code == 0, log
    assert python(built(environments, plan), "import docopt; print(docopt.__version__)") == "0.6.2"
    assert "source" in notes(environments, plan)[0]


def test_serving_keeps_the_users_pins_and_a_conflict_names_both_sides(make: Make) -> None:
    environments = make()
    plan = environments.plan(SMALL, serving=True)
    assert build(environments, plan)[0] == 0
    assert python(built(environments, plan), "import tabulate; print(tabulate.__version__)") == "0.9.0"
    clash = replace(plan, key="c" * 40, definition={**plan.definition, "serving": ["tabulate>=0.10"]})
    assert build(environments, clash)[0] == 1
    failure = environments.failure(clash.key)
    assert "inference server" in failure and "tabulate>=0.10" in failure and "tabulate==0.9.0" in failure


def test_credentials_of_an_index_stay_out_of_log_and_failure(make: Make) -> None:
    environments = make(**NO_PIP, UV_HTTP_RETRIES="0")
    spec = EnvironmentSpec(pip_requirements="--index-url http://me:hunter2@127.0.0.1:9/simple\nsix")
    plan = environments.plan(spec)
    code, log = build(environments, plan)
    assert code == 1
    assert "hunter2" not in log + environments.failure(plan.key) + json.dumps(environments.task(plan, "/o", 1).argv)


def test_what_cannot_be_built_is_refused_before_anything_runs(make: Make) -> None:
    environments = make()
    for spec in (
        EnvironmentSpec(image="nvcr.io/nvidia/tritonserver:24.01-py3"),
        EnvironmentSpec(build_context=True),
        EnvironmentSpec(conda_file="dependencies: [r-base]"),
        EnvironmentSpec(curated="AzureML-no-such-thing"),
    ):
        with pytest.raises(ArmError) as caught:
            environments.plan(spec)
        assert caught.value.status == 400
