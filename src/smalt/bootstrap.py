"""What a platform has from its first start on, and what each start looks at again."""

from __future__ import annotations

from smalt.arm.ids import ResourceId, workspace_id
from smalt.arm.models import show_to_mlflow
from smalt.arm.platform import Platform
from smalt.kinds.jobs import earlier, job_runs
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE
from smalt.store import resources
from smalt.store.database import exclusive


def bootstrap(platform: Platform) -> None:
    """The default subscription, resource group and workspace, where they are missing. One server at a time."""
    now = platform.clock()
    subscription = ResourceId(SUBSCRIPTION)
    group = ResourceId(SUBSCRIPTION, RESOURCE_GROUP)
    home = workspace_id(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)
    with platform.database.write() as connection:
        exclusive(connection, "bootstrap")
        for id_, parent, spec in (
            (subscription, "", {"properties": {"displayName": "Smalt"}}),
            (group, subscription.key, {"location": "local", "properties": {}}),
            (home, group.key, {"location": "local", "properties": {"friendlyName": WORKSPACE}}),
        ):
            if resources.get(connection, id_.key) is None:
                due = now if id_ is home else None
                resources.insert(
                    connection,
                    key=id_.key,
                    written=str(id_),
                    kind=id_.kind,
                    parent=parent,
                    name=id_.name,
                    spec=spec,
                    status={},
                    state="Succeeded",
                    now=now,
                    by="smalt",
                    due_at=due,
                )
        # what a new version puts into or beside a workspace: curated environments, supporting resources
        resources.poke(connection, resources.keys_of_kind(connection, "workspaces"), now)
        show_to_mlflow(connection, now)
        job_runs.watch(connection, now)
        earlier.watch(connection, now)
