"""`Engine` for machines that dial in. The truth is in two tables (`store/nodes.py`, `store/node_tasks.py`).

A task is a row from the moment that it is wanted. Its specification, which holds secrets, is kept in memory alone until
the machine has it; a server that starts again asks the task's owner for it (`observe` is None then, and the owner
ensures it again). From then on the row has what the machine said last. A task is LOST when its machine denies it, says
of it what cannot be read, came back as another incarnation, was removed, or was heard by no server for longer than
`lost_after_s` while this one ran; that is written down, and a machine that still has such a task is told to end it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from smalt.agent.wire import Phase, TaskSpec, TaskState
from smalt.arm.errors import ArmError, not_found
from smalt.arm.ports import Capacity, Isolation, Usage
from smalt.engines.remote import usage
from smalt.engines.remote.known import Known
from smalt.engines.remote.messages import SILENT_S, Hello, Order, Reports, Said, lost_state, state_of
from smalt.engines.remote.orders import ensure_order, remove_order, stop_order
from smalt.engines.remote.session import Session
from smalt.engines.remote.ways import Dial, Ways
from smalt.store import node_environments, node_tasks, nodes, servers
from smalt.store.database import Database
from smalt.store.node_tasks import NodeTask
from smalt.store.nodes import Machine

_LOG = logging.getLogger(__name__)
_REMOVED = "Node '{}' was removed."
_SEEN_EVERY_S = 60.0  # how often it is written that a machine is there, at least


class RemoteEngine:
    """See `arm.ports.Engine` for the contract. All calls may come from any thread but that of the event loop."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        lost_after_s: float,
        alone: bool = False,
        me: str = "",
        dial: Dial | None = None,
    ) -> None:
        """`alone`: no other server can have a machine's line. `me`: this one, among several (`store/servers.py`).

        `dial`: to replicas, which are ready once they are reached.
        """
        self._database, self._clock, self._lost_after_s = database, clock, lost_after_s
        self._me, self.known = me, Known(database)
        self._lock = threading.RLock()  # what is written, and what is said of it, in one order
        self._sessions: dict[str, Session] = {}
        self._specs: dict[str, TaskSpec] = {}  # by id, until the machine has them
        self._used: dict[str, Sequence[Usage]] = {}
        self._noted: dict[str, float] = {}  # when `seen_at` was written
        self._heard: dict[str, float] = {}  # monotonic
        self._started = time.monotonic()
        self._changed: Callable[[str], None] = lambda owner: None
        self._ways = Ways(dial, lambda owner: self._changed(owner))
        self._ending, self._look_again = threading.Event(), threading.Event()
        self._watchdog = threading.Thread(target=self._watch_silence, name="nodes", daemon=True)
        self._seen_every_s = min(_SEEN_EVERY_S, lost_after_s / 3)
        self._unseen_s = 0 if alone else 2 * self._seen_every_s + SILENT_S  # then no server has its line

    # the port

    def capacity(self, node: str = "") -> Capacity:
        found = self.known.named(node)
        return Capacity(found.cpus, found.memory_bytes, found.gpus) if found else Capacity(1, 0)

    def isolation(self, node: str = "") -> Isolation:
        found = self.known.named(node)
        return Isolation(found.isolation if found else "none")

    def ensure(self, task: TaskSpec) -> None:
        if not task.name:
            raise ValueError("a task needs a name")
        with self._lock:
            with self._database.write() as connection:
                found = node_tasks.current(connection, task.name)
                if found is not None and task.fence < found.fence:
                    raise ValueError(
                        f"task '{task.name}': fence {task.fence} is older than {found.fence}, which was seen already"
                    )
                if found is not None and task.fence > found.fence:
                    node_tasks.note(connection, found.id, fence=task.fence)
                id_ = found.id if found else node_tasks.add(connection, task, self._clock())
                if found is None and nodes.get(connection, task.node) is None:
                    gone = lost_state(TaskState(task.name), _REMOVED.format(task.node), self._clock())
                    node_tasks.say(connection, id_, gone)
                    return
                node_environments.give(connection, task.node, task.environment)
            if found is None or found.state is None:
                self._specs[id_] = task
                self._send(task.node, ensure_order(id_, task))
            if not self._attended(task.node):
                self._look_again.set()

    def observe(self, name: str) -> TaskState | None:
        with self._database.read() as connection:
            found = node_tasks.current(connection, name)
            machine = nodes.get(connection, found.node) if found and not found.ended else None
        if found is None:
            return None
        if machine is not None and self._silent_s(machine) >= self._lost_after_s:
            self._lose_all(machine)
            return self.observe(name)
        if found.state is None and found.id not in self._specs and self._attended(found.node):
            return None  # its machine dialled here after another server was asked for it
        return self._ways.to(found.state or TaskState(name), found.id, found.owner, machine)

    def silent_s(self, node: str) -> float:
        """For how long nobody has heard of it, as far as this server was there to hear; inf: there is no such node."""
        if self._attended(node):
            return 0.0
        machine = self.known.named(node)
        return math.inf if machine is None else max(self._silent_s(machine), 0.0)

    def stop(self, name: str, grace_s: float) -> None:
        if not self._has(name):
            return
        with self._lock:
            with self._database.write() as connection:
                found = node_tasks.current(connection, name)
                if found is None or found.ended:
                    return
                node_tasks.note(connection, found.id, grace_s=max(0.0, grace_s))
            self._send(found.node, stop_order(found.id, grace_s))

    def remove(self, name: str) -> None:
        if not self._has(name):
            return
        with self._lock:
            with self._database.write() as connection:
                found = node_tasks.current(connection, name)
                if found is None:
                    return
                self._specs.pop(found.id, None)
                self._ways.forget(found.id)
                if nodes.get(connection, found.node) is None:
                    node_tasks.forget(connection, [found.id])
                    return
                node_tasks.note(connection, found.id, removing=True)
            self._send(found.node, remove_order(found.id))

    def usage(self) -> Sequence[Usage]:
        with self._lock:
            return [one for node in self._sessions for one in self._used.get(node, ())]

    def watch(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._watchdog.start()

    def close(self) -> None:
        """All lines end; what runs goes on."""
        self._ending.set()
        self._look_again.set()
        self._ways.close()
        with self._lock:
            for session in self._sessions.values():
                session.close()

    # what machines say

    def open(self, machine: Machine, hello: Hello, session: Session) -> None:
        """The line stands: what is wanted goes down it. Raises ArmError(409) where another machine has this name."""
        now, told = self._clock(), [machine.compute]
        with self._lock:
            before = self._sessions.get(machine.name)
            if before is not None and before.alive and before.incarnation != session.incarnation:
                raise ArmError(
                    409,
                    "NodeConnected",
                    f"Another machine is connected as node '{machine.name}': each has a name of its own.",
                )
            with self._database.write() as connection:
                current = nodes.get(connection, machine.name)
                if current is None:
                    raise not_found("Node", machine.name)
                if current.incarnation not in ("", hello.incarnation):
                    why = f"Node '{machine.name}' came back without what it had (its folder is another)."
                    told += self._lose(connection, node_tasks.of_node(connection, machine.name), why)
                    node_tasks.forget_removed(connection, machine.name)
                noted = {**hello.machine, "state": nodes.CONNECTED, "seen_at": now, "server": self._me or None}
                nodes.note(connection, machine.name, **noted)
                if self._me:
                    servers.move(connection, node_tasks.owners(connection, machine.name), self._me)
                orders, owners = self._agree(connection, machine.name, hello.tasks)
            self._sessions[machine.name] = session
            self._heard[machine.name] = self._noted[machine.name] = time.monotonic()
            for order in orders:
                session.send(order)
            if before is not None:
                before.close()
        self._tell([*told, *owners])
        _LOG.info("node %s is connected, with %d tasks", machine.name, len(hello.tasks))

    def _agree(self, connection: Connection, node: str, tasks: Sequence[Said]) -> tuple[list[Order], list[str]]:
        """After a cut each side knows something: the orders that follow, and the owners for whom something changed."""
        theirs = {one.id: one for one in tasks}
        rows = {one.id: one for one in node_tasks.of_node(connection, node)}
        orders: list[Order] = [remove_order(id_) for id_ in theirs.keys() - rows.keys()]
        owners: list[str] = []
        for row in rows.values():
            said = theirs.get(row.id)
            if row.removing and said:
                orders.append(remove_order(row.id))
            elif row.removing:
                node_tasks.forget(connection, [row.id])
            elif said is not None:
                ends = self._said(connection, row, said)
                orders += [remove_order(row.id)] if ends else []
                owners += [] if row.ended else [row.owner]
                if row.grace_s is not None and not row.ended and not ends:
                    orders.append(stop_order(row.id, row.grace_s))
            elif row.ended:
                continue
            elif row.state is not None:
                owners += self._lose(connection, [row], f"Node '{node}' does not know this task any more.")
            elif spec := self._specs.get(row.id):
                node_environments.give(connection, node, spec.environment)
                orders.append(ensure_order(row.id, spec))
                orders += [stop_order(row.id, row.grace_s)] if row.grace_s is not None else []
            else:  # it was never begun, and what it was is not known here any more
                node_tasks.forget(connection, [row.id])
                owners.append(row.owner)
        return orders, owners

    def report(self, machine: Machine, session: str, reports: Reports) -> list[str]:
        """What changed on a machine; the ids of tasks that it has to end. Raises ArmError(409) on an old line."""
        gone: list[str] = []
        with self._lock:
            owners = self._hear(machine, session)
            if reports.usage is not None:
                with self._database.read() as connection:
                    self._used[machine.name] = usage.owned(connection, reports.usage)
            if reports.said:
                with self._database.write() as connection:
                    for one in reports.said:
                        row = node_tasks.get(connection, one.id)
                        if row is None or row.node != machine.name:
                            gone += [one.id] if one.state is not None else []
                        elif one.state is None:
                            owners += self._is_gone(connection, row)
                        else:
                            gone += [one.id] if self._said(connection, row, one) else []
                            owners += [] if row.ended or row.removing else [row.owner]
        self._tell(owners)
        return gone

    def closed(self, session: Session) -> None:
        """The line is cut; another may stand already."""
        with self._lock:
            if self._sessions.get(session.node) is not session:
                return
            del self._sessions[session.node]
            seen_at = self._clock() - (time.monotonic() - self._heard[session.node])
            with self._database.write() as connection:  # what is not written here, the watch writes later
                found = nodes.get(connection, session.node)
                owners = node_tasks.owners(connection, session.node)
                nodes.note(connection, session.node, state=nodes.SILENT, seen_at=seen_at)
        _LOG.info("node %s is not connected any more", session.node)
        self._look_again.set()
        self._tell([found.compute, *owners] if found else owners)

    def hear(self, key: str) -> None:
        """Of a change, from any thread."""
        if key == nodes.NODES:
            self._look_again.set()

    def look(self) -> None:
        """A machine was removed, or added: its line ends, and so does what ran there."""
        owners: list[str] = []
        with self._lock:
            with self._database.write() as connection:
                known = {one.name for one in nodes.every(connection)}
                for name in node_tasks.nodes_with_tasks(connection) - known:
                    owners += self._lose(connection, node_tasks.of_node(connection, name), _REMOVED.format(name))
                    node_tasks.forget_removed(connection, name)
            for name in self._sessions.keys() - known:
                self._sessions[name].close()
        self._tell(owners)

    # within

    def _attended(self, node: str) -> bool:
        """Whether its line ends here."""
        session = self._sessions.get(node)
        return session is not None and session.alive

    def _has(self, name: str) -> bool:
        """Without a lock: most tasks run on the server's own machine, and are asked for here too."""
        with self._database.read() as connection:
            return node_tasks.current(connection, name) is not None

    def _hear(self, machine: Machine, session: str) -> list[str]:
        """Whom it concerns that it is there: another server may have taken it for silent."""
        current = self._sessions.get(machine.name)
        if current is None or current.id != session:
            raise ArmError(409, "NodeSessionEnded", "This line has ended: say hello again.")
        current.heard()
        self._heard[machine.name] = now = time.monotonic()
        if machine.connected and now - self._noted.get(machine.name, 0.0) <= self._seen_every_s:
            return []
        with self._database.write() as connection:
            nodes.note(connection, machine.name, state=nodes.CONNECTED, seen_at=self._clock())
        self._noted[machine.name] = now
        return [] if machine.connected else [machine.compute]

    def _said(self, connection: Connection, row: NodeTask, said: Said) -> bool:
        """Whether the machine has to end it: what counts as lost must not go on, nor what cannot be understood."""
        try:
            state = state_of(said)
        except ValueError as error:
            self._lose(connection, [row], f"What node '{row.node}' says of this task cannot be read: {error}.")
            return True
        if row.ended or row.removing:
            return state.phase is not Phase.EXITED
        self._specs.pop(row.id, None)
        node_tasks.say(connection, row.id, replace(state, name=row.name))
        return False

    def _is_gone(self, connection: Connection, row: NodeTask) -> list[str]:
        if row.removing:
            node_tasks.forget(connection, [row.id])
            return []
        return [] if row.ended else self._lose(connection, [row], f"Node '{row.node}' has removed it.")

    def _lose(self, connection: Connection, rows: Iterable[NodeTask], why: str) -> list[str]:
        """What has not ended counts as lost, for good; the owners."""
        owners: list[str] = []
        for row in rows:
            if not row.ended and not row.removing:
                self._specs.pop(row.id, None)
                node_tasks.say(connection, row.id, lost_state(row.state or TaskState(row.name), why, self._clock()))
                owners.append(row.owner)
        return owners

    def _lose_all(self, machine: Machine) -> None:
        why = f"Node '{machine.name}' has not been heard of for {self._lost_after_s:g} s."
        with self._lock, self._database.write() as connection:
            current = nodes.get(connection, machine.name)
            if current is None or self._silent_s(current) < self._lost_after_s:
                return
            owners = self._lose(connection, node_tasks.of_node(connection, machine.name), why)
        self._tell(owners)

    def _silent_s(self, machine: Machine) -> float:
        """For how long no server has heard anything, as far as this one was there to hear it."""
        here = time.monotonic() - self._heard.get(machine.name, self._started)
        return here if machine.seen_at is None else min(here, self._clock() - machine.seen_at)

    def _send(self, node: str, order: Order) -> None:
        if session := self._sessions.get(node):
            session.send(order)

    def _tell(self, owners: Iterable[str]) -> None:
        for owner in dict.fromkeys(owners):
            self._changed(owner)

    def _watch_silence(self) -> None:
        """Until the end: waits for the moment at which a machine that has tasks has been silent for too long."""
        while not self._ending.is_set():
            self._look_again.clear()
            try:
                self._note_the_unseen()
                self.look()
                pause = min(self._lose_the_silent() or self._seen_every_s, self._seen_every_s)
            except Exception:  # the edge: a database that is away for a moment must not end the watch
                _LOG.exception("silent nodes could not be looked at")
                pause = 5.0
            self._look_again.wait(pause)

    def _note_the_unseen(self) -> None:
        """Machines whose server was killed, or could not write that their line was cut."""
        with self._database.read() as connection:
            names = nodes.unseen(connection, self._clock() - self._unseen_s)
        owners: list[str] = []
        for name in names:
            with self._lock, self._database.write() as connection:
                if not self._attended(name):
                    owners += nodes.silence(connection, name, self._clock() - self._unseen_s)
        self._tell(owners)

    def _lose_the_silent(self) -> float | None:
        """Seconds until the next one may be lost; None: none has tasks."""
        with self._database.read() as connection:
            busy = node_tasks.busy(connection)
        left = [self._lost_after_s - self._silent_s(one) for one in busy]
        for one, seconds in zip(busy, left, strict=True):
            if seconds <= 0:
                self._lose_all(one)
        return min((seconds for seconds in left if seconds > 0), default=None)
