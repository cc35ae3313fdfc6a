"""The programs around Smalt: Envoy and uv, which it brings along, interpreters, container engines."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from uv import find_uv_bin

from smalt.doctor.finding import Finding, no, none, ok, warn
from smalt.doctor.machine import Machine
from smalt.environments.uv.interpreters import find_interpreters
from smalt.gateway.bootstrap import binary

_INDEX = "https://" + "pypi.org"
_INTERPRETERS = "https://github.com"
_ANSWER_S = 1.5  # two of them are asked
_AGAIN = "python3 -m pip install --target .boot uv && .boot/bin/uv sync"


def envoy(machine: Machine) -> Finding:
    try:
        program = binary()
    except FileNotFoundError as error:
        return no(str(error).rstrip("."), "Smalt cannot start", _AGAIN)
    works, said = machine.ask([str(program), "--version"])
    if not works:
        return no(f"{program} does not run: {said}", "Smalt cannot start", _AGAIN)
    return ok(f"{_number(said)}, {_whose(program)}")


def uv(machine: Machine) -> Finding:
    means = "no environment can be built: jobs with one fail"
    try:
        program = Path(find_uv_bin())
    except FileNotFoundError:
        return no("missing", means, _AGAIN)
    works, said = machine.ask([str(program), "--version"])
    if not works:
        return no(f"{program} does not run: {said}", means, _AGAIN)
    return ok(f"{_number(said)}, {_whose(program)}")


def interpreters(machine: Machine) -> Finding:
    """Those that environments get; Smalt never downloads one by itself."""
    found = [one.version for one in find_interpreters(machine.variables)]
    if len(found) > 1:
        return ok(", ".join(found))
    means = "environments that ask for another Python get this one, and say so in their log"
    return warn(f"{', '.join(found)} alone", means, "uv python install 3.10 3.12")


def downloads(machine: Machine) -> Finding:
    """Whether packages and interpreters can be fetched: connects, and asks for nothing."""
    means = "environments are built from what uv's cache holds, with the Pythons that are here"
    if machine.variables.get("UV_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return none("UV_OFFLINE is set", means, "unset UV_OFFLINE")
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
    index = next((machine.variables[one] for one in names if machine.variables.get(one)), _INDEX)
    mirror = machine.variables.get("UV_PYTHON_INSTALL_MIRROR") or _INTERPRETERS
    packages, pythons = _reached(machine, index), _reached(machine, mirror)
    fact = f"{'packages' if packages else 'no packages'} from {_host(index)}, "
    fact += f"{'Pythons' if pythons else 'no Pythons'} from {_host(mirror)}"
    if packages:
        return ok(fact)
    return warn(fact, means, "export UV_DEFAULT_INDEX=https://INDEX/simple, or HTTPS_PROXY, and start Smalt again")


def containers(machine: Machine) -> Finding:
    means = "nothing here needs one; images with programs of their own are refused"
    silent: list[str] = []
    for name, asked in (("docker", "{{.Server.Version}}"), ("podman", "{{.Client.Version}}")):
        if program := machine.which(name):
            works, said = machine.ask([program, "version", "--format", asked])
            if works:
                return ok(f"{name} {said}")
            silent.append(f"{name} does not answer ({said})")
    if silent:
        return none("; ".join(silent), means, "systemctl start docker")
    return none("neither docker nor podman", means, machine.install("podman"))


def _number(said: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", said)
    return found[0] if found else said


def _whose(program: Path) -> str:
    """Where a program comes from, in words."""
    return "Smalt's own" if program.is_relative_to(sys.prefix) else f"at {program}"


def _host(url: str) -> str:
    """Without the credentials that an address may hold."""
    return urlsplit(url).hostname or "nowhere"


def _reached(machine: Machine, url: str) -> bool:
    """Whether something takes connections there, or the proxy before it."""
    proxy = next((machine.variables[one] for one in ("https_proxy", "HTTPS_PROXY") if machine.variables.get(one)), "")
    parts = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else urlsplit(url)
    if parts.scheme == "file":
        return Path(parts.path).exists()
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname or "", port), _ANSWER_S).close()
    except (OSError, ValueError):
        return False
    return True
