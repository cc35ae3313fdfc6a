"""This machine as a node: its root, what it has, and the service on it."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import certifi
import httpx

from smalt.agent.whole_file import write_whole
from smalt.arm.errors import ArmError
from smalt.auth.secret_files import replace_file
from smalt.blob.store.folder import FolderStore
from smalt.engines.local import Finder, LocalEngine
from smalt.engines.remote.loopback import loopback_id
from smalt.engines.remote.messages import HEARTBEAT_S, PREFIX
from smalt.environments import UvEnvironments
from smalt.node.carrier import NodeCarrier
from smalt.node.certificate import NodeCertificate
from smalt.node.credential import Credential
from smalt.node.forwarder import Forwarder
from smalt.node.service import NodeService
from smalt.settings import Settings

_CONNECTIONS, _CARRYING = 16, 80  # the line, reports, environments; and what is carried at once
_SIGNED_S = 10.0


def node_settings(root: Path, credential: Credential, isolation: str) -> Settings:
    """As if the platform were here: its address, and a folder of this machine's own."""
    host, port = credential.address
    return Settings(root, host=host, port=port, isolation=isolation)


def make_service(
    settings: Settings,
    credential: Credential,
    blobs: Path | None,
    address: str = "",
    gpus: Sequence[int] | None = None,
    heartbeat_s: float = HEARTBEAT_S,
    port: int = 0,
    connected: Callable[[], None] = lambda: None,
) -> NodeService:
    """All parts, wired. `blobs` is the platform's own folder of blobs, where this machine sees it.

    `address`: of this machine, where the other nodes of its jobs find it; empty: the one that leads to the platform.
    `gpus`: those of the machine that are the node's; None: all. `port`: where the gateway comes to replicas; 0: the
    first that is free of those there are for it. `connected` is called for each line that stands.
    Raises ArmError where this machine cannot keep what runs from itself, and nobody has said that it need not.
    """
    settings.tls.mkdir(mode=0o700, parents=True, exist_ok=True)
    bundle = settings.tls / "bundle.pem"
    trusted = Path(certifi.where()).read_text().rstrip() + "\n\n# Smalt\n" + credential.ca
    replace_file(bundle, trusted.encode(), 0o644)  # tasks of before read it, and must never find half of it
    environments = UvEnvironments(settings)
    client = _client(credential, _CONNECTIONS)
    if blobs:
        finder = Finder(_shared(blobs), environments.prefix, blobs.resolve(), str(bundle))
    else:
        finder = Finder(_nowhere, environments.prefix, None, str(bundle), NodeCarrier(_client(credential, _CARRYING)))
    engine = LocalEngine(settings, finder, gpus=gpus)
    isolation = engine.isolation()
    if isolation.level == "none":
        raise ArmError(
            400,
            "NoIsolation",
            f"{isolation.reason} What runs here could read the node's token. Let the machine isolate (smalt doctor says"
            " how), or accept the danger: smalt node run --isolation off.",
        )
    about: dict[str, Any] = {
        **asdict(engine.capacity()),
        "incarnation": _incarnation(settings.root),
        "version": version("smalt"),
        "isolation": isolation.level,
        "loopback": loopback_id(),
    }
    found = partial(_address, address, settings)
    folder = settings.root / "forwarder" / "tls"
    certificate = NodeCertificate(folder, credential.name, credential.ca, partial(_signed, client))
    forwarder = Forwarder(settings, credential.name, certificate, found, port)
    return NodeService(settings, engine, environments, client, about, heartbeat_s, found, forwarder, connected)


def _client(credential: Credential, connections: int) -> httpx.Client:
    """What is carried has its own: however much of it hangs, the line is dialled again."""
    return httpx.Client(
        base_url=credential.server,
        verify=credential.trust(),
        trust_env=False,
        headers={"Authorization": f"Bearer {credential.token}"},
        limits=httpx.Limits(max_connections=connections),
    )


def _signed(client: httpx.Client, request: bytes) -> bytes:
    """Raises OSError."""
    try:
        answer = client.post(f"{PREFIX}/certificate", content=request, timeout=_SIGNED_S)
    except httpx.HTTPError as error:
        raise OSError(f"the platform cannot be asked for a certificate ({error or type(error).__name__})") from error
    if answer.status_code != 200:
        raise OSError(f"the platform gives this node no certificate: {answer.status_code} {answer.text[:200]}")
    return answer.content


def ip_of(name: str) -> str:
    """The IPv4 address that a name or an address stands for. Raises OSError."""
    return str(socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])


def _address(given: str, settings: Settings) -> str:
    """Empty where none leads to the platform now."""
    if given:
        return given
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((ip_of(settings.host), settings.port))  # nothing is sent: the kernel looks up the way
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _shared(blobs: Path) -> Callable[[str, str, str], Path]:
    store = FolderStore(blobs)
    return lambda account, container, name: store.path(f"{account}/{container}", name)


def _nowhere(account: str, container: str, name: str) -> Path:
    raise AssertionError("with a carrier nobody asks")


def _incarnation(root: Path) -> str:
    """A random name of this folder, made with it: who comes back with another has lost what was here."""
    path = root / "incarnation"
    if not path.exists() or not path.read_text():  # the machine lost its power just then
        write_whole(path, secrets.token_hex(16))
    return path.read_text()
