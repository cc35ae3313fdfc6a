"""Jupyter kernels of other environments behind a task's walls: what each finds, and that none can be changed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.walled import (
    OWN_USER,
    PLAIN_LANDLOCK,
    PLAIN_USER,
    PYTHON,
    WHO_TESTS,
    Walled,
    end_agents,
    succeeds,
    walled_root,
)
from smalt.agent.kernel_spec import KernelSpec


@pytest.fixture(params=[OWN_USER, PLAIN_USER, PLAIN_LANDLOCK, WHO_TESTS])
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with walled_root(*request.param) as made:
        yield made
        end_agents(made)


def environment(root: Path, name: str, **modules: str) -> str:
    prefix = root / "envs" / name
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", prefix], check=True)
    (library,) = prefix.glob("lib/python3.*/site-packages")
    for module, text in modules.items():
        (library / f"{module}.py").write_text(text)
    return str(prefix)


LAUNCHER = (
    "import json, os, sys, both\n"
    "def tried():\n"
    "    try:\n"
    "        open(both.__file__, 'a')\n"
    "    except OSError as error:\n"
    "        return type(error).__name__\n"
    "print(json.dumps([both.MINE, sys.argv[1:], os.environ['SET'], sys.prefix, tried()]))\n"
)


def test_a_kernel_has_its_environment_and_ipykernel_behind_it(walled: Walled) -> None:
    lab = environment(walled.root, "lab", jupyter="")
    train = environment(walled.root, "train", both="MINE = 'train'")
    tools = environment(walled.root, "tools", both="MINE = 'tools'", ipykernel_launcher=LAUNCHER)
    kernels = [
        KernelSpec("azureml-train-1", "train:1", train, tools, {"SET": "by it"}),
        KernelSpec("azureml-gone-1", "gone:1", str(walled.root / "envs" / "gone"), tools),
    ]
    show = (
        "import json, os, pathlib, subprocess\n"
        "where = pathlib.Path(os.environ['JUPYTER_PATH'].split(':')[0]) / 'kernels'\n"
        "print(sorted(one.name for one in where.iterdir()))\n"
        "spec = json.loads((where / 'azureml-train-1' / 'kernel.json').read_text())\n"
        "print(spec['display_name'])\n"
        "argv = [one.format(connection_file='c.json') for one in spec['argv']]\n"
        "print(subprocess.run(argv, env=os.environ | spec['env'], capture_output=True, text=True))\n"
    )
    (walled.root / "homes" / "w").mkdir(parents=True, exist_ok=True)
    (walled.root / "homes" / "w" / "show.py").write_text(show)
    command = f"python {walled.root}/homes/w/show.py"
    names, title, ran = succeeds(walled.run(command, environment=lab, kernels=kernels)).splitlines()
    assert (names, title) == ("['azureml-train-1']", "train:1")
    found = json.loads(ran.partition("stdout='")[2].partition("\\n'")[0])
    assert found[:3] == ["train", ["-f", "c.json"], "by it"] and found[3].endswith("/kernels/azureml-train-1")
    assert found[4] in ("OSError", "PermissionError"), "nobody changes what others use"
    (system_log,) = walled.root.glob("tasks/*/system.log")
    assert "no kernel for gone:1" in system_log.read_text()
