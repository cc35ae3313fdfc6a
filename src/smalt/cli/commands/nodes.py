"""`smalt node`: the machines that are nodes of clusters; and, on such a machine, the service that makes it one.

What makes, lists and removes them works straight on the database, whether or not the platform runs.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from smalt.agent.wire import Hint
from smalt.arm.ids import workspace_id
from smalt.cli.root import CliError, prepare, resolve, take_lock
from smalt.cli.rows import opened
from smalt.engines.local.capacity import machine_capacity
from smalt.engines.local.gpus import chosen
from smalt.node.credential import Credential, CredentialError
from smalt.node.host import ip_of, make_service, node_settings
from smalt.node.service import NodeRevoked, NodeService
from smalt.sched.growth import ray_of
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION
from smalt.store import nodes, resources
from smalt.store.nodes import NODES, Machine

REVOKED = 3  # the exit code of a node that the server knows no more (`engines/ray/bridge.py` waits for it)
_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")


def add(
    root: Path | None, name: str, compute: str, workspace: str, labels: Sequence[str], to: Path | None, as_json: bool
) -> int:
    """What the machine dials in with is printed, or written to the new file `to`."""
    if not _NAME.fullmatch(name):
        raise CliError(f"'{name}' cannot name a node: letters, digits and '-', at most 63, as a host's name")
    known = dict(_label(one) for one in labels)
    with opened(root) as (settings, database):
        key = workspace_id(SUBSCRIPTION, RESOURCE_GROUP, workspace).child("computes", compute).key
        with database.write() as connection:
            row = resources.get(connection, key)
            if row is None or row.properties.get("computeType") != "AmlCompute":
                raise CliError(f"there is no cluster '{compute}' in workspace '{workspace}': make it first")
            if ray_of(row):
                raise CliError(f"Ray makes the nodes of cluster '{compute}': raise its --max, or make another cluster")
            try:
                _, token = nodes.add(connection, name, key, known, _now())
            except ValueError as error:
                raise CliError(f"{error}: smalt node remove {name}, or choose another name") from error
            credential = Credential(settings.url, name, token, (settings.tls / "ca.pem").read_text())
            if to is not None:
                try:
                    credential.write(to)
                except OSError as error:
                    raise CliError(f"{to} cannot be written: {error.strerror}") from error
        Hint(NODES, "").send(str(settings.hints_socket))
        Hint(key, "").send(str(settings.hints_socket))
    if to is None or as_json:
        print(credential.to_json(), end="")
    else:
        print(f"On the machine itself, with this file: smalt node run --token-file {to.name}")
    return 0


def remove(root: Path | None, name: str, as_json: bool) -> int:
    """Its token opens nothing from now on; what it runs is lost, and it ends that when it hears of it."""
    with opened(root) as (settings, database):
        with database.write() as connection:
            found = nodes.get(connection, name)
            if found is None:
                raise CliError(f"there is no node '{name}'")
            nodes.remove(connection, name)
        for key in (NODES, found.compute):
            Hint(key, "").send(str(settings.hints_socket))
    print(json.dumps(_document(found)) if as_json else f"Removed {name}. What it ran is lost.")
    return 0


def list_all(root: Path | None, as_json: bool) -> int:
    with opened(root) as (_, database), database.read() as connection:
        found = nodes.every(connection)
    if as_json:
        print(json.dumps([_document(one) for one in found]))
        return 0
    table = Table(box=None)
    for heading in ("name", "cluster", "state", "last seen", "cpus", "memory", "gpus", "isolation", "version"):
        table.add_column(heading)
    for one in found:
        known = (str(one.cpus), f"{one.memory_bytes / 2**30:.1f} GiB", str(one.gpus), one.isolation, one.version)
        compute = one.compute.rsplit("/", 1)[-1]
        table.add_row(one.name, compute, one.state, _time(one.seen_at), *(known if one.seen_at else ("",) * 5))
    Console(highlight=False).print(table if found else "No nodes yet; make one: smalt node add NAME --compute CLUSTER")
    return 0


def run(
    root: Path | None,
    token_file: Path,
    server: str,
    name: str,
    isolation: str,
    blobs: Path | None,
    address: str,
    gpus: str | None,
    port: int = 0,
    notify: int | None = None,
) -> int:
    """In the foreground, until a signal comes. What runs goes on, and is adopted by the next.

    `notify`: a descriptor on which a line is written, and which is closed, once the node is connected.
    """
    connected = _notifier(notify)
    try:
        credential = Credential.read(token_file)
        credential = replace(credential, server=server.rstrip("/") or credential.server)
        if name and name != credential.name:
            raise CliError(f"{token_file} is for node '{credential.name}', not for '{name}'")
        settings = node_settings(resolve(root or Path("~/.smalt-node")), credential, isolation)
        credential.trust()
    except CredentialError as error:
        raise CliError(str(error)) from error
    try:
        address = ip_of(address) if address else ""
    except OSError as error:
        raise CliError(f"--address {address}: nobody finds this machine there ({error.strerror})") from error
    try:
        own = None if gpus is None else chosen(gpus, machine_capacity().gpus)
    except ValueError as error:
        raise CliError(f"--gpus {gpus}: {error}") from error
    if blobs is not None and not blobs.is_dir():
        raise CliError(f"{blobs} is no folder: --blobs names the platform's folder of blobs, as this machine sees it")
    if (settings.root / "config.json").exists():
        raise CliError(f"{settings.root} is a platform's own folder; choose another with --root")
    prepare(settings)
    lock = take_lock(settings.root)
    if lock is None:
        raise CliError(f"a node service runs on {settings.root} already")
    lock.claim()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return _serve(make_service(settings, credential, blobs, address, own, port=port, connected=connected))


def _notifier(descriptor: int | None) -> Callable[[], None]:
    """Says it once, to who has started this."""
    left: list[int] = []
    if descriptor is not None:
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            raise CliError(f"--notify-fd {descriptor}: it is not open ({error.strerror})") from error
        left.append(descriptor)

    def connected() -> None:
        while left:
            with suppress(OSError), os.fdopen(left.pop(), "wb") as file:  # nobody may be there any more
                file.write(b"connected\n")

    return connected


def _serve(service: NodeService) -> int:
    """Until SIGINT or SIGTERM, or until the server knows this node no more."""
    over, revoked = threading.Event(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())

    def serving() -> None:
        try:
            service.run()
        except NodeRevoked:
            revoked.set()
        finally:
            over.set()

    thread = threading.Thread(target=serving, name="node", daemon=True)
    thread.start()
    over.wait()
    service.stop()
    thread.join(timeout=10)
    if revoked.is_set():
        raise CliError(
            "the server does not know this node any more: ask its operator for a new file (smalt node add)", REVOKED
        )
    return 0


def _label(given: str) -> tuple[str, str]:
    key, found, value = given.partition("=")
    if not key or not found:
        raise CliError(f"--label {given}: it must be KEY=VALUE")
    return key, value


def _document(one: Machine) -> dict[str, Any]:
    return {
        "name": one.name,
        "compute": one.compute,
        "state": one.state,
        "lastSeen": _time(one.seen_at) or None,
        "cpus": one.cpus,
        "memoryBytes": one.memory_bytes,
        "gpus": one.gpus,
        "isolation": one.isolation,
        "version": one.version,
        "address": one.address,
        "labels": dict(one.labels),
    }


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _time(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
