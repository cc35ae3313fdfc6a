"""Clusters whose nodes Ray makes: what is said of that in a compute, and the steps by which nodes come and go.

Who decides is the queue (`sched/growth.py`); Ray sees only nodes that are wanted now. What is under way is kept in the
compute's status, below `ray`: `job` (what was asked of Ray, before it is), `made` (the nodes that Ray was asked for
last), `why` (what is wrong, for people), `retry_at`, `away` (how often in a row Ray could not be asked, and until when
it is left alone: whoever asks a dashboard that hangs holds a worker of all computes and jobs).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.errors import ArmError, conflict, forbidden, invalid
from smalt.arm.kind import Document, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import NodePlace, ProvidedNode, WantedNode
from smalt.arm.validation import Properties
from smalt.engines.ray.dashboard import check_address
from smalt.engines.ray.provider import local_head, token_of
from smalt.sched import growth, placement, turns
from smalt.sched.growth import ray_of
from smalt.sched.sizes import SIZES
from smalt.settings import LOCAL_RAY, Settings
from smalt.store import nodes
from smalt.store.nodes import Machine
from smalt.store.resources import Row

log = logging.getLogger("smalt.computes")

TOKEN = "ray"  # among a compute's secrets: what Ray's dashboard is shown
_NODE = "node/"  # there too: what each node dials in with
_WORKING_S, _LOOK_S, _RETRY_S = 0.5, 3.0, 30.0
_AWAY_S, _AWAY_MOST_S = 10.0, 60.0  # how long Ray is left alone: at first, at most
_STARTING_S = 1.0  # at first, where it is a head of our own, which never hangs
_SILENT_S = 30.0  # then a node that Ray says is gone is lost: Ray may be wrong for a while
_GIVE_UP_S = 60.0  # a compute is deleted though Ray cannot be told
_FIELD = "properties.properties.ray"
_DEFAULTS = {"folder": "~/.smalt-ray", "isolation": "auto"}


class RayProperties(Properties):
    url: Annotated[str, Field(pattern=rf"(?i)^(?:{LOCAL_RAY}|https?://[^\s/?#@]+/?)$")]
    token: Annotated[str, Field(min_length=1)] | None = None
    folder: Annotated[str, Field(pattern=r"^(~/|/)[^\x00]*$")] = "~/.smalt-ray"
    isolation: Literal["auto", "files", "off"] = "auto"


def admit(
    request: Request, connection: Connection, old: Row | None, given: Mapping[str, Any] | None
) -> tuple[Document | None, Callable[[Connection], None]]:
    """What the compute says of Ray, and what is written beside it. Clients that know nothing of Ray keep what is; what
    they make has its nodes where the platform has been told (`smalt up --ray`).
    """
    before = dict(ray_of(old))
    if not given:
        return before or (of_platform(request.platform.settings) if old is None else None), _nothing
    if request.principal.kind != "owner":
        raise forbidden(f"{_FIELD}: only the platform's owner may attach a Ray cluster.", _FIELD)
    if old is not None and not before:
        raise conflict(
            f"Compute '{old.name}' has nodes of this platform; delete it first, or choose another name.", _FIELD
        )
    token = given.get("token")
    fresh = {name: value for name, value in given.items() if name != "token" and value is not None}
    fresh["url"] = str(fresh["url"]).rstrip("/")
    _check(fresh["url"], str(token or ""), request.platform.settings, before)
    fresh = {**_DEFAULTS, **before, **fresh, **_here(fresh["url"], request.platform.settings)}
    fresh.setdefault("namespace", _namespace())
    moved = [name for name in before if before[name] != fresh.get(name)]
    if moved:
        raise conflict(f"{_FIELD}.{moved[0]} cannot change; detach '{request.id.name}' first.", f"{_FIELD}.{moved[0]}")

    def writes(connection: Connection) -> None:
        if token is not None:
            request.platform.secrets.set(connection, request.id.key, TOKEN, str(token))

    return fresh, writes


def of_platform(settings: Settings) -> Document | None:
    """Where clusters have their nodes of which nobody says anything else; None: on this machine."""
    if not settings.ray:
        return None
    isolation = settings.isolation if settings.isolation in ("files", "off") else "auto"
    url = settings.ray.rstrip("/")
    return {**_DEFAULTS, **_here(url, settings), "url": url, "isolation": isolation, "namespace": _namespace()}


def _here(url: str, settings: Settings) -> Document:
    """Nodes of the platform's own head lie in the platform's root, where it finds what they leave behind."""
    return {"folder": str(settings.ray_nodes)} if url == LOCAL_RAY else {}


def _check(url: str, token: str, settings: Settings, before: Mapping[str, Any]) -> None:
    if url != LOCAL_RAY:
        check_address(url, token, _FIELD)
    elif LOCAL_RAY not in (settings.ray, before.get("url")):
        why = f"{_FIELD}.url: this platform keeps no Ray head; smalt up --ray {LOCAL_RAY} does."
        raise invalid(why, f"{_FIELD}.url")


def home_of(platform: Platform, row: Row) -> str | None:
    """The server that alone steps such a compute: the one that keeps its Ray's head, if one does."""
    return platform.servers.me if ray_of(row)["url"] == platform.settings.ray == LOCAL_RAY else None


def _namespace() -> str:
    return f"smalt-{secrets.token_hex(6)}"


def _nothing(connection: Connection) -> None:
    """Nothing is written."""


@dataclass(frozen=True)
class Scale:
    least: int
    most: int
    idle_s: float


def step(platform: Platform, row: Row, scale: Scale) -> tuple[Document, float | None]:
    """What the status says of Ray after one pass, and when to look again (s)."""
    now, ray = platform.clock(), dict(row.status.get("ray") or {})
    retry_in = max(float(ray.get("retry_at", 0)) - now, 0)
    with platform.database.write() as connection:
        resized = growth.resize(
            connection, row.id, row.name.lower(), scale.least, scale.most, scale.idle_s, now, grow=not retry_in
        )
        for name, token in resized.made.items():
            platform.secrets.set(connection, row.id, _NODE + name, token)
        _forget(platform, connection, row, resized.gone)
        machines = nodes.of_compute(connection, row.id)
    ray["made"] = sorted(set(ray.get("made", ())) - {one.name for one in resized.gone if one.connected})
    pause: float | None = _left_alone(ray, now)
    if not pause:
        try:
            pause = _work(platform, row, ray, machines, now)
            ray.pop("away", None)
        except ArmError as error:
            first_s = _STARTING_S if ray_of(row)["url"] == LOCAL_RAY else _AWAY_S
            ray["why"], pause = error.message, _leave_alone(ray, now, first_s)
    left = [pause, retry_in or None, None if resized.next_at is None else max(resized.next_at - now, 0.05)]
    return ray, min((one for one in left if one is not None), default=None)


def remove(platform: Platform, row: Row) -> Step:
    """The nodes are nobody's any more, which ends them; then Ray is told, as far as it can be."""
    now, ray = platform.clock(), dict(row.status.get("ray") or {})
    if "deleting_at" not in ray:
        ray["deleting_at"] = now
        ray.pop("away", None)
    with platform.database.write() as connection:
        machines = nodes.of_compute(connection, row.id)
        for one in machines:
            nodes.remove(connection, one.name)
        placement.release_idle(connection, row.id, now, idle_s=0, least=0)
        turns.forget(connection, row.id)
    after = None
    try:
        if ray.get("made") or ray.get("job"):
            pause = _ask(platform, row, ray, [], now)
            after = max(float(ray.get("retry_at", 0)) - now, _WORKING_S) if pause is None else pause
    except ArmError as error:
        ray["why"], after = error.message, _leave_alone(ray, now, _RETRY_S / 10)
    except Exception as error:  # whatever it is: `deleting_at` is kept, so that this ends
        log.warning("%s: Ray could not be told: %s", row.id, error, exc_info=True)
        ray["why"], after = str(error)[:500], _leave_alone(ray, now, _RETRY_S / 10)
    left = max(ray["deleting_at"] + _GIVE_UP_S - now, 0.0)
    over = not (ray.get("made") or ray.get("job")) or not left
    after = None if after is None else min(after, left)
    return Step(row.state, {**row.status, "ray": ray}, gone=over, after=after)


def _leave_alone(ray: Document, now: float, first_s: float) -> float:
    """For how long (s): twice as long as the last time, so that Ray is asked less and less while it is away."""
    times = int((ray.get("away") or {}).get("times", 0))
    pause = min(first_s * 2 ** min(times, 10), _AWAY_MOST_S)
    ray["away"] = {"times": times + 1, "until": now + pause}
    return pause


def _left_alone(ray: Document, now: float) -> float:
    """For how much longer (s); not at all where the clock was set back."""
    left = float((ray.get("away") or {}).get("until", 0)) - now
    return left if 0 < left <= _AWAY_MOST_S else 0.0


def _work(platform: Platform, row: Row, ray: Document, machines: Sequence[Machine], now: float) -> float | None:
    """Ask Ray for what is wanted, and after what is not there. Raises ArmError."""
    if (pause := _ask(platform, row, ray, machines, now)) is not None:
        return pause
    away = [one for one in machines if not one.connected and one.name in ray["made"]]
    if not away:
        if not ray.get("retry_at", 0) > now:
            ray.pop("why", None)
        return None
    known = platform.ray.observe(place_of(platform, row))
    lost = [one for one in away if _is_lost(one, known.get(one.name), now, platform.settings.node_lost_s)]
    ray["why"] = next((known[one.name].why for one in lost or away if one.name in known), "Ray does not know a node.")
    if lost:
        with platform.database.write() as connection:
            for one in lost:
                nodes.remove(connection, one.name)
            _forget(platform, connection, row, lost)
        if any(one.seen_at is None for one in lost):  # it could not be a node: another would not either
            ray["retry_at"] = now + _RETRY_S
        return 0.0
    return _LOOK_S


def _is_lost(one: Machine, known: ProvidedNode | None, now: float, lost_s: float) -> bool:
    """One that Ray starts again, where it was, is lost when what it ran is: `lost_s` after it was last seen."""
    state = "dead" if known is None else known.state
    if one.seen_at is None:
        return state == "dead"
    return state != "running" and now - one.seen_at >= (lost_s if state == "starting" else _SILENT_S)


def _ask(platform: Platform, row: Row, ray: Document, machines: Sequence[Machine], now: float) -> float | None:
    """One request to Ray at a time, each known by its id before it is made; None: there is nothing to ask for."""
    names = sorted(one.name for one in machines)
    if job := ray.get("job"):
        applied = platform.ray.apply(place_of(platform, row), job["id"], _wanted(platform, row, job["nodes"]))
        if not applied.done:
            return _WORKING_S
        del ray["job"]
        if applied.error:
            ray["why"], ray["retry_at"] = applied.error, now + _RETRY_S
            return _RETRY_S
        ray["made"] = job["nodes"]
    if names == sorted(ray.get("made", ())) or ray.get("retry_at", 0) > now:
        return None
    ray["job"] = {"id": f"{ray_of(row)['namespace']}-{secrets.token_hex(4)}", "nodes": names}
    return 0.0


def place_of(platform: Platform, row: Row) -> NodePlace:
    ray = ray_of(row)
    if ray["url"] == LOCAL_RAY:
        url, token = local_head(platform.settings)
        return NodePlace(url, ray["namespace"], ray["folder"], ray["isolation"], token)
    with platform.database.read() as connection:
        token = platform.secrets.of(connection, row.id).get(TOKEN, "")
    if not token and ray["url"] == platform.settings.ray.rstrip("/"):
        token = token_of(platform.settings)
    return NodePlace(ray["url"], ray["namespace"], ray["folder"], ray["isolation"], token)


def _wanted(platform: Platform, row: Row, names: Sequence[str]) -> list[WantedNode]:
    """Those whose tokens open something still."""
    size = SIZES[str(row.properties["properties"]["vmSize"]).lower()]
    with platform.database.read() as connection:
        known = platform.secrets.of(connection, row.id)
    tokens = {name: known[_NODE + name] for name in names if _NODE + name in known}
    return [WantedNode(name, token, size.cpus, size.gpus) for name, token in tokens.items()]


def _forget(platform: Platform, connection: Connection, row: Row, gone: Sequence[Machine]) -> None:
    for one in gone:
        platform.secrets.forget(connection, row.id, _NODE + one.name)
