"""Jupyter kernels of environments beside the task's own: an overlay for each, and what says to Jupyter how it starts.

An environment need not have ipykernel: a second one, of the same Python, is seen behind it and has that. What both have
is the environment's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from smalt.agent.barrier import Barrier
from smalt.agent.failures import SetupError
from smalt.agent.journal import Journal
from smalt.agent.kernel_spec import KernelSpec, environments
from smalt.agent.mounts import Namespace
from smalt.agent.overlay import make_overlay, see_behind

FOLDER = "kernels"  # among the task's own


def put_kernels(
    kernels: Sequence[KernelSpec],
    prefixes: Mapping[str, str],
    own: Path,
    mounts: Barrier,
    environment: Mapping[str, str],
    journal: Journal,
) -> dict[str, str]:
    """The variables by which Jupyter finds them. `prefixes`: by an environment's key; `environment`: what the task has,
    but for its own environment in PATH. What cannot be prepared is said in the journal, and left out.
    """
    made = own / FOLDER
    shown: set[str] = set()
    for one in kernels:
        try:
            document = _prepared(one, prefixes, made / one.name, environment["PATH"])
        except (SetupError, OSError, KeyError) as error:
            journal.say(f"there is no kernel for {one.title}: {error}")
            continue
        place = made / "share" / "kernels" / one.name
        place.mkdir(parents=True)
        (place / "kernel.json").write_text(json.dumps(document))
        for prefix in sorted({prefixes[key] for key in environments([one])} - shown):
            shown.add(prefix)
            _show(Path(prefix), mounts)
    others = environment.get("JUPYTER_PATH")
    return {"JUPYTER_PATH": ":".join([str(made / "share"), *([others] if others else [])])}


def _show(prefix: Path, mounts: Barrier) -> None:
    mounts.bind_read_only(prefix, prefix)
    if not isinstance(mounts, Namespace):
        mounts.show_interpreter(prefix / "bin" / "python")


def _prepared(one: KernelSpec, prefixes: Mapping[str, str], place: Path, path: str) -> dict[str, object]:
    """Its `kernel.json`. Raises SetupError, OSError, KeyError."""
    binaries = make_overlay(Path(prefixes[one.environment]), place)
    if one.tools:
        see_behind(place, Path(prefixes[one.tools]))
    return {
        "argv": [str(binaries / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": one.title,
        "language": "python",
        "metadata": {"debugger": True},
        "env": {**one.variables, "VIRTUAL_ENV": str(place), "PATH": f"{binaries}:{path}"},
    }
