"""What deployments run names blobs in place of paths, and what is live has an address for each replica.

The digest of what they run is made again from that, so that the replicas that live are those that are wanted.
"""

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_RUNS = ("mode", "model", "code", "script", "variables", "concurrency", "timeout_s", "size", "probes", "plan")


def upgrade() -> None:
    connection = op.get_bind()
    accounts = set(connection.execute(sa.text("SELECT name FROM account")).scalars())
    query = sa.text("SELECT id, status FROM resource WHERE kind = 'workspaces/onlineendpoints/deployments'")
    for id_, status in connection.execute(query).all():
        found = _without_paths(json.loads(status), accounts)
        update = sa.text("UPDATE resource SET status = :status WHERE id = :id")
        connection.execute(update, {"status": json.dumps(found), "id": id_})


def _without_paths(status: dict[str, Any], accounts: Collection[str]) -> dict[str, Any]:
    if target := status.get("target"):
        status["target"] = _target(target, accounts)
    if live := status.get("live"):
        if "target" in live:
            live["target"] = live["target"] and _target(live["target"], accounts)
        sockets = live.pop("sockets", [])
        live["addresses"] = {one.rpartition("/")[2].removesuffix(".sock"): f"unix:{one}" for one in sockets}
    return status


def _target(target: dict[str, Any], accounts: Collection[str]) -> dict[str, Any]:
    runs = {**target, "model": _ref(target["model"], "", accounts), "code": _ref(target["code"], "/", accounts)}
    asked = {name: runs[name] for name in _RUNS if name in runs}
    return {**runs, "digest": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]}


def _ref(path: str, end: str, accounts: Collection[str]) -> list[str] | None:
    """The blob that was at `…/blobs/ACCOUNT/CONTAINER/NAME`."""
    for found in re.finditer(r"/blobs/(?=([^/]+)/([^/]+)(/.*)?$)", path):
        account, container, name = found.groups()
        if account in accounts:
            return [account, container, (name or "").strip("/") + end]
    return None
