"""Which environments of its workspace an instance's JupyterLab has as kernels: those of which jobs could run at once.

Of the newest versions those that are built on this machine, and those whose tag `kernel` asks for it: they are built
when it starts. ipykernel comes from an environment of its own for each Python; one whose build fails, and what needs
it, is left out. What is built while the instance runs is there from its next start on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection

from smalt.agent.kernel_spec import KernelSpec
from smalt.arm.errors import ArmError
from smalt.arm.ids import ML, ResourceId, kind_key
from smalt.arm.kind import OURS
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec
from smalt.kinds.assets import environment_build
from smalt.kinds.assets.environment import specification
from smalt.store import pages, resources
from smalt.store.document import Document, part
from smalt.store.resources import Row

KERNELS = "kernels"  # in an instance's status: those that its task has
LEFT_OUT = "kernels_left_out"  # there: the titles of those that it cannot have
ASKED = "asked_kernels"  # there: keys of the environments that were asked for since its start
TAG = "kernel"  # of an environment's version
MOST = 20
_LOOKED_AT = 100  # versions
_VERSIONS = kind_key(ML, "workspaces/environments/versions")
_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"


@dataclass(frozen=True)
class Kernel:
    """`tools`: what has ipykernel for it; None: it has that itself."""

    name: str
    title: str
    plan: EnvironmentPlan
    tools: EnvironmentPlan | None

    @property
    def plans(self) -> list[EnvironmentPlan]:
        return [self.plan, *([self.tools] if self.tools else [])]


def wanted(platform: Platform, row: Row) -> list[Kernel]:
    """Reads the database; the newest first. What is shipped has several names; it is one kernel, by the shortest."""
    workspace, now = ResourceId.parse(row.written).workspace, platform.clock()
    own, found = part(part(row.spec, OURS), "plan").get("key"), dict[str, Kernel]()
    with platform.database.read() as connection:
        prefix = f"{workspace.key}/environments/"
        rows = pages.page(connection, _VERSIONS, "", most=_LOOKED_AT, prefix=prefix).rows
        named = [one for one in rows if not one.properties.get("isAnonymous")]
        specs = [(one, _specified(connection, one, workspace, now)) for one in named]
    shipped = set[str]()  # keys of what is built
    for one, spec in sorted(specs, key=lambda each: len(each[1].name) if each[1] and each[1].curated else 0):
        if len(found) < MOST and spec and (kernel := _kernel(platform, one, spec)) and kernel.plan.key != own:
            if spec.curated and kernel.plan.key in shipped:
                continue
            found.setdefault(kernel.name, kernel)
            shipped |= {kernel.plan.key} if spec.curated else set()
    return list(found.values())


def _specified(connection: Connection, version: Row, workspace: ResourceId, now: float) -> EnvironmentSpec | None:
    with contextlib.suppress(ArmError):
        return specification(connection, version, workspace, now)
    return None


def _kernel(platform: Platform, version: Row, spec: EnvironmentSpec) -> Kernel | None:
    """None where it is neither built nor asked for, or can have none."""
    try:
        plan = platform.environments.plan(spec)
        if not _is_chosen(version) and platform.environments.built(plan.key) is None:
            return None
        tools = None if "ipykernel" in (platform.environments.lock(plan.key) or {}) else _tools(platform, plan)
    except ArmError:
        return None
    python = str(plan.definition.get("python") or "")
    name, _, _ = spec.name.rpartition(":")
    title = f"{spec.name} (Python {'.'.join(python.split('.')[:2])})" if python else spec.name
    return Kernel(re.sub(r"[^a-z0-9._-]", "-", f"azureml-{name}-{version.name}".lower()), title, plan, tools)


def _is_chosen(version: Row) -> bool:
    said = cast("dict[str, Any]", version.properties.get("tags") or {}).get(TAG)
    return said is not None and str(said).lower() != "false"


def _tools(platform: Platform, plan: EnvironmentPlan) -> EnvironmentPlan:
    """ipykernel for the same Python. Raises ArmError."""
    python = plan.definition.get("python")
    lines = ["dependencies:", *([f"- python={python}"] if python else []), "- pip", "- pip: [ipykernel]"]
    return platform.environments.plan(EnvironmentSpec(name="ipykernel", image=_IMAGE, conda_file="\n".join(lines)))


def missing(platform: Platform, kernels: Sequence[Kernel], asked: Sequence[str]) -> list[EnvironmentPlan]:
    """What has to be built for them, and has not failed since it was `asked` for."""
    plans = {plan.key: plan for one in kernels for plan in one.plans}
    return [
        plan
        for plan in plans.values()
        if not environment_build.ready(platform, plan.key) and _may_come(platform, plan, asked)
    ]


def _may_come(platform: Platform, plan: EnvironmentPlan, asked: Sequence[str]) -> bool:
    if plan.key not in asked:
        return True
    with platform.database.read() as connection:
        found = resources.get(connection, environment_build.build_id(platform, plan.key))
    return found is None or found.state != "Failed"


def require(platform: Platform, plans: Sequence[EnvironmentPlan], waiter: str) -> Callable[[Connection], None]:
    """Writes for a Step: they are built, and `waiter` is woken by each."""

    def writes(connection: Connection) -> None:
        for plan in plans:
            environment_build.require(platform, plan, waiter)(connection)

    return writes


def chosen(platform: Platform, kernels: Sequence[Kernel]) -> Document:
    """For the status: those of which all is there, and who is left out."""
    ready = [one for one in kernels if all(platform.environments.built(plan.key) for plan in one.plans)]
    documents = [
        asdict(
            KernelSpec(one.name, one.title, one.plan.key, one.tools.key if one.tools else "", dict(one.plan.variables))
        )
        for one in ready
    ]
    return {KERNELS: documents, LEFT_OUT: [one.title for one in kernels if one not in ready], ASKED: []}


def left_out(row: Row) -> str:
    """For the instance's log; '' where there is nothing to say."""
    titles = ", ".join(row.status.get(LEFT_OUT) or [])
    if not titles:
        return ""
    return f"No kernel for {titles}: it, or ipykernel for its Python, could not be built (its build's log says why)."


def shown(row: Row) -> list[Document]:
    """`kernels` of the document: of other environments than its own; `error`: why it has that one not."""
    had = [{"name": one["name"], "displayName": one["title"], "error": None} for one in row.status.get(KERNELS) or []]
    why = "It, or ipykernel for its Python, could not be built."
    lacks = [{"name": None, "displayName": title, "error": why} for title in row.status.get(LEFT_OUT) or []]
    return [*had, *lacks]


def specs(platform: Platform, row: Row) -> list[KernelSpec]:
    """What the task is told: those of the status that are on this machine."""
    known = [KernelSpec(**one) for one in cast("list[Document]", row.status.get(KERNELS) or [])]
    return [
        one for one in known if all(platform.environments.built(key) for key in (one.environment, one.tools) if key)
    ]
