"""The line to the server: orders come down one answer that goes on, what changes goes up at once.

After a cut the node says hello with all that it has, and the server what it wants: nothing else has to be remembered.
While no server is there everything that runs goes on.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import httpx

from smalt.agent import wire
from smalt.agent.wire import Outcome, Phase, TaskSpec, TaskState
from smalt.arm.errors import ArmError
from smalt.engines.local import LocalEngine
from smalt.engines.local.folders import Folders
from smalt.engines.remote.messages import HEARTBEAT_S, PREFIX, SESSION_HEADER, SILENT_S
from smalt.environments import UvEnvironments
from smalt.node.builds import Builds
from smalt.node.carrier import NodeCarrier
from smalt.node.forwarder import Forwarder
from smalt.node.packs import NodePacks
from smalt.node.versions import Versions
from smalt.settings import Settings

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_CONNECT_S = 10.0


class NodeRevoked(Exception):
    """The server knows this node's token no more."""


class NodeService:
    """`run` blocks until `stop`. One for each root: `engine` is that root's own, and is closed at the end."""

    def __init__(
        self,
        settings: Settings,
        engine: LocalEngine,
        environments: UvEnvironments,
        client: httpx.Client,
        about: Mapping[str, Any],
        heartbeat_s: float = HEARTBEAT_S,
        address: Callable[[], str] = lambda: "",
        forwarder: Forwarder | None = None,
        connected: Callable[[], None] = lambda: None,
    ) -> None:
        """`client` has the server's address and the token; `about` is what a hello says of the machine.

        `address`: where other machines find this one, as of now; empty: nowhere. `forwarder`: by which the gateway
        comes to replicas here; None: it does not. `connected` is called for each line that stands.
        """
        self._connected = connected
        self._forwarder = forwarder
        self._folders, self._engine, self._client = Folders(settings.tasks), engine, client
        self._about, self._heartbeat_s, self._address = dict(about), heartbeat_s, address
        unbuilt, packs = partial(self._fail, outcome=Outcome.BUILD), NodePacks(client, environments)
        self._builds = Builds(environments, engine, self._start, unbuilt, packs)
        self._versions = Versions(environments, NodeCarrier(client), self._tell)
        self._news = threading.Condition()
        self._changed: dict[str, None] = {}  # tasks of which something is to be said
        self._said: dict[str, TaskState | None] = {}
        self._removed: set[str] = set()  # and not said yet; what has no state otherwise is just being started
        self._never_begun: dict[str, TaskState] = {}  # how they ended
        self._owners: dict[str, set[str]] = {}
        self._session, self._heard_at = "", 0.0  # when the server last took a report (monotonic)
        self._line: Any = None  # the stream on which orders come, while it stands
        self._stopping = threading.Event()
        self._removing = ThreadPoolExecutor(2, thread_name_prefix="remove")

    def run(self) -> None:
        """Raises NodeRevoked; what ran has been ended then."""
        for name, owner in self._here().items():
            self._owners.setdefault(owner, set()).add(name)
        if self._forwarder is not None:
            self._forwarder.told = self._moved
            self._forwarder.start()
        self._engine.watch(self._owner_changed)
        self._builds.adopt(filter(Builds.owns, set(self._here(builds=True).values())))
        reporter = threading.Thread(target=self._report_on, name="reports", daemon=True)
        reporter.start()
        pause, revoked = _FIRST_PAUSE_S, False
        try:
            while not self._stopping.is_set():
                begun = time.monotonic()
                try:
                    self._attend()
                except (httpx.HTTPError, ArmError, OSError) as error:
                    _LOG.warning("the line to the server is cut: %s", error or type(error).__name__)
                except NodeRevoked:
                    raise
                except Exception:  # the edge: a node that ends for it would never come back
                    _LOG.exception("the line to the server is cut")
                pause = _FIRST_PAUSE_S if time.monotonic() - begun > _LONGEST_PAUSE_S else pause
                self._stopping.wait(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        except NodeRevoked:
            revoked = True
            self._end_all()
            raise
        finally:
            self.stop()
            if self._forwarder is not None:
                self._forwarder.close(end=revoked)
            reporter.join(timeout=_CONNECT_S)
            self._removing.shutdown()
            self._engine.close()
            self._builds.close()
            self._versions.close()
            self._client.close()

    def stop(self) -> None:
        """What runs goes on. From any thread."""
        self._stopping.set()
        with self._news:
            self._news.notify_all()
        if self._line is not None:
            with suppress(OSError, ValueError):  # it is closed already
                self._line.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    # orders

    def _attend(self) -> None:
        timeout = httpx.Timeout(_CONNECT_S, read=SILENT_S)
        self._builds.forget_waiting()
        body = {**self._about, "address": self._address(), "tasks": self._all()}
        with self._client.stream("POST", f"{PREFIX}/channel", json=body, timeout=timeout) as answer:
            _check(answer)
            self._line = answer.extensions["network_stream"]
            with self._news:
                self._session, self._heard_at = answer.headers[SESSION_HEADER], time.monotonic()
                self._news.notify_all()
            _LOG.info("connected to %s", self._client.base_url)
            self._connected()
            try:
                for line in answer.iter_lines():
                    if self._stopping.is_set():
                        return
                    if order := json.loads(line):
                        self._obey(order)
            finally:
                self._line = None
                with self._news:
                    self._session = ""

    def _obey(self, order: Mapping[str, Any]) -> None:
        try:
            if "ensure" in order:
                self._ensure(TaskSpec.from_json(order["ensure"]))
            elif "stop" in order:
                self._stop_task(str(order["stop"]), float(order["grace_s"]))
            elif "remove" in order:
                self._removing.submit(self._remove, str(order["remove"]))
        except Exception as error:  # the edge: what one order meets must not cut the line for all
            _LOG.exception("an order could not be followed")
            if "ensure" in order:
                self._fail(str(order["id"]), _why(error))

    def _ensure(self, task: TaskSpec) -> None:
        if task.name in self._never_begun:  # it was asked for again before that was known
            self._tell(task.name)
        elif self._engine.observe(task.name) is None and not self._builds.ready(task):
            self._builds.want(task)
        else:
            self._start(task)

    def _start(self, task: TaskSpec) -> None:
        with self._news:
            self._owners.setdefault(task.owner, set()).add(task.name)
        try:
            self._versions.tell(task)
            self._engine.ensure(replace(task, build={}))
        except Exception as error:  # the edge: whatever it is, the server waits for an answer
            _LOG.warning("task %s could not be started", task.name, exc_info=error)
            self._fail(task.name, _why(error))
            return
        self._tell(task.name)

    def _fail(self, name: str, why: str, outcome: Outcome = Outcome.SETUP) -> None:
        """It ended before it began, unless it did begin."""
        begun = False
        with suppress(OSError):  # a folder that cannot be read
            begun = self._state(name) is not None
        if not begun:
            now = time.time()
            self._never_begun[name] = TaskState(name, Phase.EXITED, outcome, error=why, accepted_at=now, ended_at=now)
        self._tell(name)

    def _stop_task(self, name: str, grace_s: float) -> None:
        self._builds.drop(name)
        self._engine.stop(name, grace_s)
        if self._state(name) is None:
            self._fail(name, "The task was stopped before it began on its node.", Outcome.STOPPED)

    def _remove(self, name: str) -> None:
        self._builds.drop(name)
        self._versions.forget(name)
        try:
            self._engine.remove(name)
        except Exception:  # the edge: the folder is out of sight, and gone with the next start
            _LOG.exception("what is left of task %s could not be removed", name)
            if self._folders.of(name).exists():  # the server asks again, when this node next says what it has
                return
        with self._news:
            self._never_begun.pop(name, None)
            for owner in [owner for owner, names in self._owners.items() if name in names]:
                self._owners[owner].discard(name)
                if not self._owners[owner]:
                    del self._owners[owner]
        self._said.pop(name, None)
        self._removed.add(name)
        self._tell(name)

    def _end_all(self) -> None:
        _LOG.warning("the server does not know this node any more: what runs here ends")
        for name in self._here(builds=True):
            self._engine.remove(name)

    # news

    def _owner_changed(self, owner: str) -> None:
        if Builds.owns(owner):
            self._builds.look(owner)
            return
        with self._news:
            names = list(self._owners.get(owner, ()))
        for name in names:
            self._tell(name)

    def _tell(self, name: str) -> None:
        with self._news:
            self._changed[name] = None
            self._news.notify_all()

    def _report_on(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            with self._news:
                self._news.wait_for(lambda: bool(self._session and self._changed), self._heartbeat_s)
                session, names = self._session, list(self._changed)
                if not session:
                    continue
                self._changed.clear()
            try:
                self._report(session, names)
                pause = _FIRST_PAUSE_S
            except Exception as error:  # the edge: said again on this line or the next
                _LOG.warning("a report did not get through: %s", error or type(error).__name__)
                with self._news:
                    self._changed = dict.fromkeys(names) | self._changed
                    self._news.wait_for(partial(self._is_over, session), pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _is_over(self, session: str) -> bool:
        return self._session != session or self._stopping.is_set()

    def _report(self, session: str, names: list[str]) -> None:
        states = {name: self._state(name) for name in names}
        new = {name: state for name, state in states.items() if self._is_news(name, state)}
        if names and not new and time.monotonic() - self._heard_at < self._heartbeat_s:
            return
        body: dict[str, Any] = {"said": [_said(name, state) for name, state in new.items()]}
        if not new:
            body["usage"] = self._usage()
        answer = self._client.post(
            f"{PREFIX}/reports",
            json=body,
            headers={SESSION_HEADER: session},
            timeout=httpx.Timeout(_CONNECT_S, read=30),
        )
        _check(answer)
        self._heard_at = time.monotonic()
        self._said.update({name: state for name, state in new.items() if state is not None})
        self._removed -= {name for name, state in new.items() if state is None}
        for name in answer.json()["gone"]:
            _LOG.warning("task %s is of nobody any more: it ends", name)
            self._removing.submit(self._remove, str(name))

    def _usage(self) -> list[dict[str, Any]] | None:
        """None where that fails: the server has to hear of the node all the same."""
        try:
            return [
                {name: value for name, value in asdict(one).items() if name != "owner"}
                for one in self._engine.usage()
                if not Builds.owns(one.owner)
            ]
        except Exception:
            _LOG.exception("what the tasks use could not be read")
            return None

    def _is_news(self, name: str, state: TaskState | None) -> bool:
        return name in self._removed if state is None else self._said.get(name) != state

    def _state(self, name: str) -> TaskState | None:
        state = self._never_begun.get(name) or self._versions.see(name, self._observe(name))
        return self._forwarder.see(name, state) if self._forwarder is not None else state

    def _observe(self, name: str) -> TaskState | None:
        """As the engine tells it. What cannot be understood is lost: else no news at all would get through."""
        try:
            return self._engine.observe(name)
        except wire.UNREADABLE as error:
            _LOG.warning("the folder of task %s cannot be read: %s", name, error)
            why = f"What its node has of this task cannot be read: {error}."
            now = time.time()
            lost = TaskState(name, Phase.EXITED, Outcome.LOST, error=why, accepted_at=now, ended_at=now)
            return self._never_begun.setdefault(name, lost)

    def _moved(self, names: list[str]) -> None:
        for name in names:
            self._tell(name)

    def _all(self) -> list[dict[str, Any]]:
        """Every task that this node has, as a hello says it."""
        with self._news:
            names = list(dict.fromkeys([*self._here(), *self._never_begun]))
        states = {name: state for name in names if (state := self._state(name)) is not None}
        self._said = dict(states)
        return [_said(name, state) for name, state in states.items()]

    def _here(self, builds: bool = False) -> dict[str, str]:
        """The tasks in this root, each with its owner; with the node's own builds, or without."""
        found: dict[str, str] = {}
        for folder in self._folders.all():
            try:
                head = wire.Head.from_json((folder / wire.TASK_FILE).read_text())
            except (OSError, *wire.UNREADABLE):
                continue  # being made, or being removed
            if builds or not Builds.owns(head.owner):
                found[head.name] = head.owner
        return found


def _why(error: Exception) -> str:
    """For people; of what is no message of ours also what it is."""
    return str(error) if isinstance(error, ArmError) else f"{type(error).__name__}: {error}"


def _said(name: str, state: TaskState | None) -> dict[str, Any]:
    return {"id": name, "state": None if state is None else asdict(state)}


def _check(answer: httpx.Response) -> None:
    """Raises NodeRevoked, or ArmError with what the server said."""
    if answer.status_code == 200:
        return
    answer.read()
    if answer.status_code == 401:
        raise NodeRevoked
    try:
        error = answer.json()["error"]
        raise ArmError(answer.status_code, str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        raise ArmError(answer.status_code, "ServerError", f"The server answered {answer.status_code}.") from None
