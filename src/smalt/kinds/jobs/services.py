"""Services of command jobs: what is refused when one is submitted, and the programs that run beside its command.

Programs ask for no password of their own: nobody reaches them but through the gateway, which knows its visitors.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from smalt.agent.service_spec import ServiceSpec
from smalt.arm import services
from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.arm.services import JUPYTER, KEYS, LOG_DIR, SSH, STUDIO, TENSORBOARD, TRACKING, TYPES, VSCODE
from smalt.arm.validation import nearest
from smalt.kinds.jobs.admission import Checks
from smalt.store.document import part
from smalt.store.resources import Row

_MOST = 20
_NAME = re.compile(r"[^/\x00-\x1f]{1,100}")
_MISSING = {
    TENSORBOARD: "TensorBoard is not in the job's environment: add the pip package 'tensorboard' to it.",
    JUPYTER: "JupyterLab is not in the job's environment: add the pip package 'jupyterlab' to it.",
    VSCODE: "No server of VS Code is in the job's environment: put 'code-server' or 'openvscode-server' on its PATH"
    " (in /opt or /usr/local of the machine, say), or use an SSH service with VS Code's Remote-SSH.",
}


def check(properties: Document, checks: Checks) -> None:
    """What is wrong goes into `checks`; what clients send back of a job's document is taken out."""
    given = part(properties, "services")
    kept: Document = {}
    ports: dict[int, str] = {}
    for name, one in given.items():
        if one is not None and name not in (TRACKING, STUDIO):
            if not _NAME.fullmatch(name):
                why = f"'{name[:100]}' cannot name a service: 1 to 100 characters, none of them '/'."
                checks.errors.append(invalid(f"properties.services: {why}", "properties.services"))
            kept[name] = services.without_shown(one)
            _check(f"properties.services.{name}", name, kept[name], ports, checks)
    if len(kept) > _MOST:
        checks.errors.append(invalid(f"properties.services: a job has at most {_MOST}.", "properties.services"))
    if "services" in properties:
        properties["services"] = kept


def _check(path: str, name: str, service: Document, ports: dict[int, str], checks: Checks) -> None:
    def refuse(field: str, why: str) -> None:
        checks.errors.append(invalid(f"{path}.{field}: {why}", f"{path}.{field}"))

    type_, port, nodes = services.type_of(service), service.get("port"), service.get("nodes")
    if not isinstance(service.get("properties"), dict | None):
        refuse("properties", "it must be an object.")
        return
    more = part(service, "properties")
    if not type_:
        asked = str(service.get("jobServiceType"))
        refuse("jobServiceType", f"'{asked[:80]}' is none of {', '.join(TYPES)}.{nearest(asked, TYPES)}")
        return
    told = str(part(service, "nodes").get("nodesValueType")) if isinstance(nodes, dict) else ""
    if nodes is not None and told.lower() != "all":
        refuse("nodes", 'it must be {"nodesValueType": "All"}, or left out for the first node alone.')
    if isinstance(port, bool) or not isinstance(port, int | None) or (port is not None and not 1 <= port <= 65535):
        refuse("port", "it must be a whole number from 1 to 65535.")
    elif type_ == SSH:
        _check_keys(more.get(KEYS), refuse)
    elif port is None and type_ == services.CUSTOM:
        refuse("port", "a service of its own needs the port at which the command listens.")
    elif port is not None and (other := ports.setdefault(port, name)) != name:
        refuse("port", f"{port} is that of the service '{other}', too.")
    if type_ == TENSORBOARD:
        folder = more.get(LOG_DIR)
        if not isinstance(folder, str) or not folder.strip() or "${{" in folder or "\0" in folder:
            refuse(f"properties.{LOG_DIR}", "TensorBoard needs the folder (log_dir) that the command writes to.")


def _check_keys(given: object, refuse: Callable[[str, str], None]) -> None:
    field = f"properties.{KEYS}"
    keys = key_lines(given)
    if not keys:
        refuse(field, "an SSH service needs the public keys (ssh_public_keys) that open it, one a line.")
    for number, one in enumerate(keys, 1):
        try:
            load_ssh_public_key(one.encode())
        except (ValueError, UnsupportedAlgorithm):
            refuse(field, f"line {number} is no public key as ~/.ssh/id_ed25519.pub has it.")


def key_lines(given: object) -> list[str]:
    """The public keys among an SSH service's properties."""
    return [one.strip() for one in given.splitlines() if one.strip()] if isinstance(given, str) else []


def keys(row: Row, node: int) -> list[str]:
    """The public keys that open the job's node. Raises ArmError(409) where it has no SSH service there."""
    of_ssh = [one for one in services.asked(row).values() if services.type_of(one) == SSH and services.is_on(one, node)]
    if not of_ssh:
        message = (
            f"Job '{row.name}' has no SSH service on its node {node}. Give it one when it is submitted"
            " (services, type ssh, ssh_public_keys), or use: smalt connect."
        )
        raise ArmError(409, "NoSshService", message)
    return [key for one in of_ssh for key in key_lines(part(one, "properties").get(KEYS))]


def specs(row: Row, node: int) -> list[ServiceSpec]:
    """What the agent of one node starts and looks at."""
    return [
        ServiceSpec(name, one.get("port") or 0, _programs(one), _MISSING.get(services.type_of(one), ""))
        for name, one in services.asked(row).items()
        if services.type_of(one) not in ("", SSH) and services.is_on(one, node)
    ]


def _programs(service: Document) -> list[list[str]]:
    type_, port = services.type_of(service), str(service.get("port") or 0)
    if type_ == TENSORBOARD:
        folder = str(part(service, "properties").get(LOG_DIR) or ".")
        return [["tensorboard", "--logdir", folder, "--host", "127.0.0.1", "--port", port]]
    if type_ == JUPYTER:
        settings = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.password": "",
            "ServerApp.allow_remote_access": True,
            "ServerApp.allow_root": True,
            "IdentityProvider.token": "",
        }
        return [["jupyter-lab", "--no-browser", *(f"--{name}={value}" for name, value in settings.items())]]
    if type_ == VSCODE:
        return [
            ["code-server", "--auth", "none", "--bind-addr", f"127.0.0.1:{port}", "."],
            ["openvscode-server", "--host", "127.0.0.1", "--port", port, "--without-connection-token"],
        ]
    return []
