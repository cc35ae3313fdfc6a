"""The environment variables a task starts from: few, known, and none of the server's secrets.

    PATH                      the machine's, without Smalt's own folder; the task's environment comes in front of it
    HOME, USER, LOGNAME, SHELL   of the user that Smalt runs as: caches and pip's configuration are shared with it
    LANG, LC_*, TZ            the machine's, LANG=C.UTF-8 where it has none
    TMPDIR                    a folder of the task's own, removed at the end
    PYTHONUNBUFFERED=1        so that the log is live
    proxies and package indexes   (`PASSED_ON`) so that `pip install` works in a command as it does beside Smalt
    SMALT_TASK                an opaque mark; processes are found by it when their agent is gone

What the task's `variables` say goes over all of these.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path

from smalt.agent.pip_settings import own_pip_settings

PASSED_ON = (
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT", "PIP_TRUSTED_HOST"),
    *("PIP_DEFAULT_TIMEOUT", "PIP_DISABLE_PIP_VERSION_CHECK"),
    *("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_OFFLINE"),
    *("UV_HTTP_TIMEOUT", "UV_NATIVE_TLS", "LD_LIBRARY_PATH", "TZ", "LANG", "LANGUAGE"),
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_environment(machine: Mapping[str, str], temporary: Path, mark: str) -> dict[str, str]:
    """What every task starts from. `machine` is the environment that the agent itself was given."""
    name, home = _account()
    passed = {name: value for name, value in machine.items() if name in PASSED_ON or name.startswith("LC_")}
    return {
        "LANG": "C.UTF-8",
        **passed,
        "PATH": _machine_path(machine.get("PATH") or _PATH),
        "HOME": machine.get("HOME") or home,
        "USER": name,
        "LOGNAME": name,
        "SHELL": "/bin/bash",
        "TMPDIR": str(temporary),
        "PYTHONUNBUFFERED": "1",
        "SMALT_TASK": mark,
    }


def inside_environment(machine: Mapping[str, str], home: str, temporary: str) -> dict[str, str]:
    """What is otherwise behind walls: the account's name, its home; git trusts folders of whatever owner."""
    return {
        **own_pip_settings(machine, machine.get("HOME") or _account()[1]),
        "HOME": home or temporary,
        "USER": "smalt",
        "LOGNAME": "smalt",
        "TMPDIR": temporary,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }


def check_variables(variables: Mapping[str, str]) -> str:
    """What is wrong with the names or values, in words; empty if nothing is."""
    for name, value in variables.items():
        if not isinstance(value, str):  # it came as JSON
            return f"The environment variable {name!r} must be text, not {type(value).__name__}; put it in quotes."
        if not name or "=" in name or "\0" in name or "\0" in value:
            return f"The environment variable {name!r} cannot be set: a name has no '=', and neither part a NUL."
    return ""


def _account() -> tuple[str, str]:
    """Name and home of this process's user, who need not be one that the machine knows (`docker run --user 1234`)."""
    try:
        account = pwd.getpwuid(os.geteuid())
    except KeyError:
        return str(os.geteuid()), "/"
    return account.pw_name, account.pw_dir


def _machine_path(path: str) -> str:
    own = os.path.realpath(Path(sys.executable).parent)
    kept = [one for one in path.split(":") if one and (os.path.realpath(one) != own or not _is_venv(one))]
    return ":".join(kept) or _PATH


def _is_venv(folder: str) -> bool:
    return (Path(folder).parent / "pyvenv.cfg").exists()
