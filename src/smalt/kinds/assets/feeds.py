"""Package indexes that a workspace has credentials for: its connections of the category PythonFeed.

As on Azure, a connection adds no index to an environment: it opens those that the environment
names, at and below its target.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from smalt.arm.ids import ResourceId
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec, Feed, Login
from smalt.kinds.assets.credentials import stored_credentials
from smalt.store import pages, resources
from smalt.store.resources import Row

CONNECTIONS = "workspaces/connections"
CATEGORY = "PythonFeed"
_MOST = 200
_TOKEN_USER = "__token__"  # whom a personal access token is sent as; indexes look at the token alone


def feeds_of(connection: Connection, workspace: ResourceId, spec: EnvironmentSpec, now: float) -> tuple[Feed, ...]:
    """The workspace's feeds that are not over, for a specification that names an address; others cost no look."""
    if "://" not in spec.conda_file + spec.pip_requirements:
        return ()
    found = pages.page(connection, CONNECTIONS, workspace.key, most=_MOST, lookup=CATEGORY)
    return tuple(Feed(str(row.properties["target"]), row.id) for row in found.rows if _opens(row, now))


def logins_of(platform: Platform, plan: EnvironmentPlan) -> Mapping[str, Login]:
    """The credentials that a plan's feeds have now; a connection that is gone gives none."""
    feeds: Mapping[str, str] = plan.definition.get("feeds") or {}
    found: dict[str, Login] = {}
    with platform.database.read() as connection:
        rows = resources.get_many(connection, feeds.values())
        for address, key in feeds.items():
            if key in rows and _opens(rows[key], platform.clock()):
                secrets = stored_credentials(platform.secrets, connection, key)
                found[address] = Login(
                    secrets.get("username") or _TOKEN_USER, secrets.get("pat") or secrets.get("password") or ""
                )
    return found


def _opens(row: Row, now: float) -> bool:
    expires = row.properties.get("expiryTime")
    has_secret = row.properties["authType"] in ("PAT", "UsernamePassword")
    return has_secret and (not expires or datetime.fromisoformat(expires).timestamp() > now)
