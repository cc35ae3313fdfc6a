"""What a deployment's instances have logged, and what was done before they ran: `getLogs`."""

from __future__ import annotations

from typing import Any

from smalt.agent.wire import Ref
from smalt.arm.errors import invalid
from smalt.arm.kind import Document, Request
from smalt.arm.platform import Platform
from smalt.kinds.serving import replicas
from smalt.store import changes
from smalt.store.document import part
from smalt.store.resources import Row

_MOST_BYTES = 16 << 20  # of all instances together, in one answer
_LINES = 5000
_END_LINES, _END_BYTES = 20, 16 << 10  # of a log that is shown with an error
_SERVER, _BEFORE, _COLLECTOR = "InferenceServer", "StorageInitializer", "ModelDataCollector"
_CONTAINERS = {one.lower(): one for one in (_SERVER, _BEFORE, _COLLECTOR)}  # Azure's names


def get_logs(request: Request, row: Row | None) -> tuple[int, Any]:
    """Raises ArmError(400)."""
    assert row is not None
    lines, given = request.body.get("tail"), request.body.get("containerType")
    if lines is None:
        lines = _LINES
    if type(lines) is not int or lines < 1:
        raise invalid(f"tail: {str(lines)[:40]!r} is no number of lines, from 1.", "tail")
    container = _CONTAINERS.get(str(given or _SERVER).lower())
    if container is None:
        known = ", ".join(_CONTAINERS.values())
        raise invalid(f"containerType: '{str(given)[:80]}' is none of {known}.", "containerType")
    said = (
        _of_the_server(request.platform, row, lines) if container != _BEFORE else _before(request.platform, row, lines)
    )
    return 200, {"content": said}


def end(platform: Platform, name: str) -> str:
    """The last lines that an instance has logged."""
    return _tail(platform, replicas.log_of(name), _END_LINES, _END_BYTES)


def _of_the_server(platform: Platform, row: Row, lines: int) -> str:
    """The stages with their times, then the tail of each replica's log; the build's log while the newest have none.

    What collects data is in the server's process, so its log is this one.
    """
    names, newest = _names(row)
    found = {name: log for name in names if platform.blobs.size(*(log := replicas.log_of(name))) is not None}
    parts = [_stages(platform, row), *_tails(platform, found, lines)]
    if newest and not found.keys() & set(newest):
        build = _build(platform, row, newest, lines)
        parts.append(f"Environment build:\n{build}" if build else "Nothing was logged yet.")
    return "\n".join(parts)


def _before(platform: Platform, row: Row, lines: int) -> str:
    """The stages, how the environment was built, and what was done for each instance: files, walls, probes."""
    names, newest = _names(row)
    parts = [_stages(platform, row)]
    if build := _build(platform, row, newest, lines):
        parts.append(f"Environment build:\n{build}")
    logs = {name: replicas.system_log_of(name) for name in names}
    found = {name: log for name, log in logs.items() if platform.blobs.size(*log) is not None}
    return "\n".join([*parts, *_tails(platform, found, lines)])


def _names(row: Row) -> tuple[list[str], list[str]]:
    """All whose logs are shown, in their order; and those that were made last."""
    wanted = row.status.get("target") or {}
    current = replicas.names(row, wanted) if wanted.get("attempts") else []
    failed = row.status.get("failed_names") or []
    older = [*failed, *(row.status.get("live") or {}).get("names", [])]
    ordered = dict.fromkeys([*older, *current] if row.state == "Failed" else [*current, *older])
    return [*ordered, *(name for name in _died(row, wanted) if name not in ordered)], failed or current


def _died(row: Row, wanted: Document) -> list[str]:
    """Of those that died and were replaced the last of each place."""
    attempts = dict(enumerate(wanted.get("attempts", ())))
    died = sorted(int(at) for at in wanted.get("deaths", {}))
    return [replicas.names(row, {**wanted, "attempts": [attempts[at] - 1]}, at)[0] for at in died if at in attempts]


def _build(platform: Platform, row: Row, newest: list[str], lines: int) -> str:
    builds = [replicas.build_log_of(name) for name in newest]
    if key := row.status.get("failed_key") or part(part(row.status, "target"), "plan").get("key"):
        builds.append(platform.environments.log(key))
    return next(filter(None, (_tail(platform, one, lines, _MOST_BYTES) for one in builds)), "")


def _tails(platform: Platform, logs: dict[str, Ref], lines: int) -> list[str]:
    return [f"Instance {name}:\n" + _tail(platform, log, lines, _MOST_BYTES // len(logs)) for name, log in logs.items()]


def _stages(platform: Platform, row: Row) -> str:
    """What was reached when, in seconds since the last change of the deployment was asked for."""
    with platform.database.read() as connection:
        found = changes.newest(connection, row.id)
    begun = [one.at for one in found if one.after in ("Creating", "Updating") and one.before != one.after]
    since = begun[-1] if begun else row.created_at
    lines = [f"{one.at - since:8.2f} s  {one.reason or one.after}" for one in found if one.at >= since]
    return "\n".join(["Stages:", *lines, ""])


def _tail(platform: Platform, log: Ref, lines: int, most_bytes: int) -> str:
    end = platform.blobs.read(*log, min(512 * lines, most_bytes), from_end=True) or b""
    return "\n".join(end.decode(errors="replace").splitlines()[-lines:])
