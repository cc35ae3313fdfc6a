"""`smalt compute`: clusters on Ray, and nodes taken back, through the platform's own API, as the owner."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from smalt.arm.ids import workspace_id
from smalt.cli.access import owner_token
from smalt.cli.root import CliError, holder, no_platform, resolve
from smalt.config import read_settings
from smalt.engines.ray.dashboard import Dashboard
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, Settings

_VERSION = "2024-10-01"
_PATIENCE_S = 150.0
_POLL_S = 0.2


def attach(
    root: Path | None,
    name: str,
    ray: str,
    size: str,
    least: int,
    most: int,
    idle_s: int,
    token_file: Path | None,
    folder: str,
    isolation: str,
    workspace: str,
    as_json: bool,
) -> int:
    """Raises CliError, or ArmError where Ray cannot be used."""
    token = _read(token_file)
    with Dashboard(ray, token) as dashboard:
        version = dashboard.check()
    attached = {"url": ray, "folder": folder, "isolation": isolation, **({"token": token} if token else {})}
    scale = {"minNodeCount": least, "maxNodeCount": most, "nodeIdleTimeBeforeScaleDown": f"PT{idle_s}S"}
    machine = {"vmSize": size, "scaleSettings": scale, "ray": attached}
    body = {"location": "local", "properties": {"computeType": "AmlCompute", "properties": machine}}
    with _client(root) as client:
        made = _checked(client.put(_path(workspace, name), json=body)).json()
    if as_json:
        print(json.dumps(made))
    else:
        print(f"Cluster {name} has up to {most} nodes of {size} on Ray {version} at {ray}.")
    return 0


def detach(root: Path | None, name: str, workspace: str, as_json: bool) -> int:
    with _client(root) as client:
        path = _path(workspace, name)
        found = _checked(client.get(path)).json()
        if not found["properties"].get("properties", {}).get("ray"):
            raise CliError(f"'{name}' is not attached to a Ray cluster; delete it with the client")
        _checked(client.delete(path, params={"underlyingResourceAction": "Delete"}))
        deadline = time.monotonic() + _PATIENCE_S
        while client.get(path).status_code != 404:
            if time.monotonic() > deadline:
                raise CliError(f"'{name}' is still being deleted after {_PATIENCE_S:g} s; it goes on by itself")
            time.sleep(_POLL_S)
    print(json.dumps({"name": name, "workspace": workspace}) if as_json else f"Detached {name}.")
    return 0


def preempt(root: Path | None, name: str, nodes: int, workspace: str, as_json: bool) -> int:
    with _client(root) as client:
        done = _checked(client.post(f"{_path(workspace, name)}/preempt", json={"nodeCount": nodes})).json()
    if as_json:
        print(json.dumps(done))
    else:
        print(f"Told to give way on {name}: {', '.join(done['preempted'])}.")
    return 0


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{file} cannot be read: {error}") from error
    if not token or not token.isascii() or not token.isprintable():
        raise CliError(f"{file} holds no token: one line of printable characters is needed")
    return token


@contextmanager
def _client(root: Path | None) -> Iterator[httpx.Client]:
    settings: Settings = read_settings(resolve(root))
    if holder(settings.root) is None:
        raise no_platform(settings.root)
    context = ssl.create_default_context(cafile=str(settings.tls / "ca.pem"))
    with httpx.Client(
        base_url=settings.url,
        headers={"Authorization": f"Bearer {owner_token(settings)}"},
        verify=context,
        params={"api-version": _VERSION},
        timeout=30,
        trust_env=False,
    ) as client:
        try:
            yield client
        except httpx.HTTPError as error:
            raise CliError(f"the platform does not answer ({error})") from error


def _path(workspace: str, name: str) -> str:
    return str(workspace_id(SUBSCRIPTION, RESOURCE_GROUP, workspace).child("computes", name))


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        try:
            error: dict[str, Any] = answer.json()["error"]
            message = " ".join([str(error["message"]), *(str(one["message"]) for one in error.get("details") or ())])
        except (ValueError, KeyError, TypeError):
            message = f"the platform answered {answer.status_code}"
        raise CliError(message)
    return answer
