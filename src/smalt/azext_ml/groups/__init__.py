"""All commands, one file for each group or a few that belong together."""

from __future__ import annotations

from ..table import Command, Group
from . import assets, batch, compute, job, registry, schedule, serving, workspace

GROUPS: tuple[Group, ...] = (
    job.COMMANDS,
    assets.DATA_COMMANDS,
    assets.ENVIRONMENT_COMMANDS,
    assets.MODEL_COMMANDS,
    assets.COMPONENT_COMMANDS,
    compute.COMMANDS,
    workspace.DATASTORE_COMMANDS,
    schedule.COMMANDS,
    workspace.COMMANDS,
    serving.ENDPOINT_COMMANDS,
    serving.DEPLOYMENT_COMMANDS,
    batch.ENDPOINT_COMMANDS,
    batch.DEPLOYMENT_COMMANDS,
    registry.COMMANDS,
)
COMMANDS: dict[str, Command] = {one.name: one for group in GROUPS for one in group.commands}
