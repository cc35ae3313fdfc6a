"""Chooses the versions of curated environments anew: `python -m smalt.environments.uv.relock sklearn-1.5 …`.

For whoever maintains the definitions. A shipped lock belongs to the key of its definition, so after any change of that
definition it no longer counts until this has been run. Needs the package index and the interpreter of the definition.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from smalt.arm.ports import EnvironmentSpec
from smalt.environments.uv.build import SHIPPED
from smalt.environments.uv.environments import UvEnvironments
from smalt.settings import Settings


def main(names: list[str]) -> None:
    SHIPPED.mkdir(exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="smalt-relock-") as root:
            environments = UvEnvironments(Settings(Path(root)))
            plan = environments.plan(EnvironmentSpec(curated=name))
            target = SHIPPED / f"{name}-py{str(plan.definition['python']).replace('.', '')}.txt"
            target.unlink(missing_ok=True)
            task = environments.task(plan, "relock", 1)
            subprocess.run(task.argv, env=_without_pips(task.variables), check=True)
            shutil.copyfile(Path(root) / "envs" / "locks" / f"{plan.key}.txt", target)


def _without_pips(variables: Mapping[str, str]) -> dict[str, str]:
    everything = {**os.environ, **variables}
    return {name: value for name, value in everything.items() if not name.startswith("PIP_")} | {
        "PIP_CONFIG_FILE": os.devnull
    }


if __name__ == "__main__":
    main(sys.argv[1:])
