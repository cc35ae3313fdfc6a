"""Builds of environments: one row for each content key, so that all who need the same environment wait for one build.

Not a resource of ARM: jobs and deployments write the row (`require`) and are woken when it ends. Each server builds for
its own machine, so of several each has rows of its own. Whoever uses an
environment asks `ready` first. What nobody has used for `KEPT_S` is removed: the row says so (`Removing`) before it
goes, so that who comes meanwhile has it built again, and who came before is found and keeps it.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, and_, or_, select

from smalt.agent.wire import Phase
from smalt.arm import instances
from smalt.arm.kind import INTERNAL, Document, Kind, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import EnvironmentPlan
from smalt.arm.ports.serving import DEPLOYMENTS
from smalt.arm.runs import JOBS
from smalt.kinds.assets.feeds import logins_of
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row
from smalt.store.tables import resource

PATH = "environmentBuilds"
REMOVING = "Removing"
KEPT_S = 30 * 86_400.0  # that nobody uses
_LOOK_S = 86_400.0
_RESYNC_S = 30.0
_UNUSED = "unused_since"
NOT_BUILT = "NotBuilt"  # nobody has asked for it here
_LOG_MOST = 64 << 10  # bytes of a log's end, as a page shows it


def build_id(platform: Platform, key: str) -> str:
    me = platform.servers.me
    return f"/smalt/{PATH.lower()}/{me}/{key}" if me else f"/smalt/{PATH.lower()}/{key}"


def ready(platform: Platform, key: str) -> bool:
    """Whether the environment is there, and stays for whoever asks: a job that has not ended, a deployment."""
    if platform.environments.built(key) is None:
        return False
    with platform.database.read() as connection:
        row = resources.get(connection, build_id(platform, key))
    if row is None or row.state == REMOVING:
        return row is None
    if _UNUSED in row.status:
        with platform.database.write() as connection:
            resources.merge_status(connection, row.id, {_UNUSED: None})
    return True


def given_to_nodes(platform: Platform, plan: EnvironmentPlan) -> Document:
    """What a machine that has not built it yet builds it from (`TaskSpec.build`). With secrets: it goes into no row."""
    logins = logins_of(platform, plan)
    return {"definition": dict(plan.definition), "summary": plan.summary} | ({"logins": dict(logins)} if logins else {})


def require(platform: Platform, plan: EnvironmentPlan, waiter: str) -> Callable[[Connection], None]:
    """Writes for a Step: as `begin`, and `waiter` is woken when it ends."""

    def writes(connection: Connection) -> None:
        begin(platform, plan, connection)
        resources.wait_for(connection, waiter, [build_id(platform, plan.key)], platform.clock())

    return writes


def begin(platform: Platform, plan: EnvironmentPlan, connection: Connection) -> None:
    """The build is wanted (again, if it failed before)."""
    key, now = build_id(platform, plan.key), platform.clock()
    row = resources.get(connection, key)
    spec = {"definition": dict(plan.definition), "summary": plan.summary}
    if row is None:
        resources.insert_own(connection, key, PATH.lower(), plan.key, now, "Creating", spec, home=platform.servers.me)
    elif row.state in ("Failed", "Succeeded", REMOVING):  # Succeeded: it was built, and its folder is gone
        resources.replace_spec(connection, row, spec, state="Creating", now=now, by="smalt", due=True)


def told(platform: Platform, plan: EnvironmentPlan) -> Document:
    """How its build stands: `state`, `notes`, `error`, the end of its `log`; `lock`: exact versions, None: unknown."""
    with platform.database.read() as connection:
        row = resources.get(connection, build_id(platform, plan.key))
    built = platform.environments.built(plan.key)
    state = "Succeeded" if built else row.state if row and row.state in ("Creating", "Failed", REMOVING) else NOT_BUILT
    log = platform.blobs.read(*platform.environments.log(plan.key), _LOG_MOST, from_end=True)
    lock = platform.environments.lock(plan.key)
    return {
        "key": plan.key,
        "summary": plan.summary,
        "state": state,
        "notes": list(built.notes) if built else [],
        "error": part(row.status, "error").get("message") if row and state == "Failed" else None,
        "log": log.decode(errors="replace") if log is not None else None,
        "lock": dict(lock) if lock is not None else None,
    }


def _reconcile(platform: Platform, row: Row) -> Step:
    environments, engine = platform.environments, platform.engine
    status = dict(row.status)
    if platform.servers.lost(row.home):  # with what it built; who waits asks its own server
        return Step(row.state, status, gone=True)
    if row.state == REMOVING:
        return _remove(platform, row, status)
    if row.state == "Failed" and status.get("generation") == row.generation:  # late news of an attempt that is over
        return Step("Failed", status, done=True, error=status.get("error"))
    built = environments.built(row.name)
    if built is not None:
        if attempt := status.get("attempt"):
            engine.remove(
                environments.task(_plan(row), row.id, attempt).name
            )  # its folder holds the machine's variables
        return kept(platform, row, _compiled(platform, row, status))
    if status.get("generation") != row.generation:  # the intent: this generation's attempt has a number of its own
        status.update(generation=row.generation, attempt=status.get("attempt", 0) + 1)
        return Step("Creating", status, after=0)
    task = environments.task(_plan(row), row.id, status["attempt"])
    state = engine.observe(task.name)
    if state is None:
        plan = _plan(row)
        engine.ensure(environments.task(plan, row.id, status["attempt"], logins_of(platform, plan)))
        return Step("Creating", status, after=_RESYNC_S)
    if state.phase is not Phase.EXITED:
        return Step("Creating", status, after=_RESYNC_S)
    engine.remove(task.name)
    error = {"code": "EnvironmentBuildFailed", "message": environments.failure(row.name) or state.error}
    return Step("Failed", {**status, "error": error}, done=True, error=error)


def kept(platform: Platform, row: Row, status: Document) -> Step:
    """Of what was made of the environment with the row's name. Looked at again once a day: is it used?"""
    now, others = platform.clock(), {name: value for name, value in status.items() if name != _UNUSED}
    if _is_used(platform, row.name):
        return Step("Succeeded", others, done=True, after=_LOOK_S)
    since = status.get(_UNUSED) or now
    if now - since >= KEPT_S:
        return Step(REMOVING, others, after=0, reason=f"nobody has used it for {KEPT_S / 86_400:.0f} days")
    return Step("Succeeded", {**others, _UNUSED: since}, done=True, after=_LOOK_S)


def _remove(platform: Platform, row: Row, status: Document) -> Step:
    if _is_used(platform, row.name):  # somebody came just before the row said so
        return Step("Succeeded", status, done=True, after=_LOOK_S)
    platform.environments.remove(row.name)
    return Step(REMOVING, status, gone=True)


def _is_used(platform: Platform, key: str) -> bool:
    """Whether a job that has not ended, a deployment or an instance has this environment in what it wants or has."""
    users = or_(
        and_(resource.c.kind == JOBS, resource.c.ended_at.is_(None)),
        resource.c.kind.in_((DEPLOYMENTS, instances.COMPUTES)),
    )
    named = or_(resource.c.spec.contains(key), resource.c.status.contains(key))
    with platform.database.read() as connection:
        return connection.execute(select(resource.c.id).where(users, named).limit(1)).first() is not None


def _plan(row: Row) -> EnvironmentPlan:
    return EnvironmentPlan(row.name, row.spec["definition"], row.spec.get("summary", ""))


def _compiled(platform: Platform, row: Row, status: Document) -> Document:
    """Bytecode for all packages, written once behind everyone's back.

    Tasks see the environment read-only, so each would compile what it imports again. Nobody waits for it.
    """
    task = platform.environments.compiling(row.name, row.id, status.get("attempt", 1))
    if status.get("compiled") == task.name:
        return status
    state = platform.engine.observe(task.name)
    if state is None:
        platform.engine.ensure(task)
        return status
    if state.phase is not Phase.EXITED:
        return status
    platform.engine.remove(task.name)
    return {**status, "compiled": task.name}


KIND = Kind(path=PATH, title="environment build", scopes=INTERNAL, reconcile=_reconcile)
