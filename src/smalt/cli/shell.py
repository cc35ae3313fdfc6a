"""What of the caller's shell the platform is to have: its own processes run alike whatever is exported there.

Jobs are another matter: what reaches them is said in `smalt.agent.environ`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from smalt.settings import Settings

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_OF_OTHER_PROGRAMS = ("PYTHON", "VIRTUAL_ENV", "CONDA_", "LD_PRELOAD", "LD_AUDIT", "UV_RUN_", "UVICORN_", "GUNICORN_")


def ignore_python_variables() -> None:
    """In this interpreter, before anything of size is imported.

    Docker images set PYTHONDONTWRITEBYTECODE: without bytecode every start compiles everything anew. PYTHONPATH, meant
    for another program, hides packages of ours.
    """
    sys.dont_write_bytecode = False
    sys.pycache_prefix = None
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    elsewhere = {os.path.abspath(one) for one in named if one}  # noqa: PTH100
    own = Path(__file__).parents[2]
    sys.path[:] = [one for one in sys.path if one not in elsewhere or Path(one) == own]


def platform_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what changes how an interpreter or a linker works, and without a proxy before ourselves."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_OF_OTHER_PROGRAMS)}
    return {**kept, **no_proxy(settings, environment), "PYTHONUTF8": "1"}


def no_proxy(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY, in both spellings, with this platform and loopback added; empty where there is no proxy."""
    if not any(environment.get(name) for name in _PROXIES):
        return {}
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [one.strip() for one in given.split(",") if one.strip()]
    if "*" not in names:
        names += [one for one in ("localhost", "127.0.0.1", "::1", settings.host) if one not in names]
    value = ",".join(dict.fromkeys(names))
    return {"no_proxy": value, "NO_PROXY": value}
