"""Another priority for a job that waits: the one setting of a job's run that a PUT may change."""

from __future__ import annotations

from smalt.arm.errors import conflict
from smalt.arm.kind import OURS, Document
from smalt.kinds.jobs import admission
from smalt.kinds.jobs.model import TERMINAL
from smalt.kinds.jobs.status import JobStatus
from smalt.sched.want import MEDIUM
from smalt.store.document import part
from smalt.store.resources import Row

SETTINGS = "queueSettings"


def changed(old: Row, properties: Document) -> Document | None:
    """The job's queueSettings with another priority; None: it is the same, or the tier is another, too.

    Raises ArmError: 400 for what is no priority, 409 for a job that has its nodes.
    """
    known, given = part(old.properties, SETTINGS), part(properties, SETTINGS)
    if not given.get("priority"):
        return None
    (tier, priority), (tier_now, now) = admission.queued(given), admission.queued(known)
    if tier != tier_now or priority == now:
        return None
    if old.state in TERMINAL or JobStatus.read(old.status).tasks:
        raise conflict(
            f"Job '{old.name}' waits for nodes no more: its priority cannot change.", f"properties.{SETTINGS}.priority"
        )
    return {**known, "priority": priority}


def applied(spec: Document, settings: Document) -> Document:
    """The spec of a job with these queueSettings, whose nodes are asked for with that priority from now on."""
    properties = {**part(spec, "properties"), SETTINGS: settings}
    ours = part(spec, OURS)
    if "priority" in ours:
        ours = {**ours, "priority": settings.get("priority") or MEDIUM}
    return {**spec, "properties": properties, OURS: ours}
