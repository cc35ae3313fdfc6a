"""All carried tasks of a root: what is brought before each starts, followed while it runs, and published when it ended.

    fetching ──▶ running ──▶ publishing ──▶ published

Which of these it is, the task's folder tells: no state yet; a state; an end; the mark. So an engine that takes a folder
goes on with it whatever was killed. One engine at a time: it holds `carry/lock`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from smalt.agent import wire
from smalt.agent.folder import RESERVE_FILE
from smalt.agent.whole_file import write_whole
from smalt.agent.wire import Hint, Outcome, Phase, TaskState
from smalt.arm.errors import ArmError
from smalt.arm.ports import Carrier
from smalt.engines.local.carry.cache import ReadCache
from smalt.engines.local.carry.crew import Crew
from smalt.engines.local.carry.fetch import Fetch
from smalt.engines.local.carry.follow import Bases, Followed
from smalt.engines.local.carry.job import Ended, Job, Over, reason
from smalt.engines.local.carry.mirror import Mirror
from smalt.engines.local.carry.publish import Publisher
from smalt.engines.local.carry.scribe import TICK_S, Scribe
from smalt.engines.local.folders import Folders, delete_tree, read_head, read_state
from smalt.settings import Settings

_LOG = logging.getLogger(__name__)
TRANSFERS, _LOOKS = 32, 4  # threads
_ALIVE_EVERY_S = 5.0  # an agent that is killed is told by the engine's watcher, where one watches
_CLOSE_S = 3.0


@dataclass
class Carried:
    """A task in the hands of this engine."""

    job: Job
    publisher: Publisher
    logs: list[Followed]
    syncing: bool = False
    running: bool = False
    asking: bool = False
    alive_due: float = 0.0
    seen: tuple[int, ...] = ()
    threads: list[threading.Thread] = field(default_factory=list[threading.Thread])


class Carriage:
    """`launch(folder, check)` starts the agent of a task whose things are in place, unless it was started or `check`
    raises. `observe(folder, name)` sees to it that the state of a task whose agent is gone says so.
    """

    def __init__(
        self,
        settings: Settings,
        folders: Folders,
        carrier: Carrier,
        launch: Callable[[Path, Callable[[], None]], None],
        observe: Callable[[Path, str], object],
    ) -> None:
        self._folders = folders
        self._hints = str(settings.hints_socket)
        self._carrier = carrier
        self._launch, self._observe = launch, observe
        self._cache = ReadCache(settings.cache, settings.cache_mib << 20, carrier)
        self._scribe = Scribe(carrier)
        self._fetchers, self._storers, self._lookers = (
            Crew("carry-fetch", TRANSFERS),
            Crew("carry-store", TRANSFERS),
            Crew("carry-looks", _LOOKS),
        )
        self._jobs: dict[Path, Carried] = {}
        self._changed = threading.Condition()
        self._nudged = self._closed = False
        self._ticker: threading.Thread | None = None

    def adopt(self) -> None:
        """Go on with all that an engine before left."""
        for folder in self._folders.all():
            self.take(folder)

    def take(self, folder: Path) -> None:
        """Go on with this task, if it is carried, not published, and nobody else does."""
        mirror = Mirror(folder)
        if folder in self._jobs or not mirror.unpublished:
            return
        with self._changed:
            if folder in self._jobs or self._closed:
                return
            try:
                lock = _lock(mirror.carry / "lock")
                if lock is None:
                    return
                one = self._carried(folder, lock)
            except OSError as error:
                _LOG.warning("task %s cannot be carried on: %s", folder.name, error)
                return
            except wire.UNREADABLE as error:
                self._give_up(folder, mirror, error)
                return
            self._jobs[folder] = one
            self._scribe.follow(one.logs)
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="carry-tick", daemon=True)
                self._ticker.start()
            self._changed.notify_all()
        if self._is_unstarted(folder):
            self._thread(one, self._fetch)
        else:
            one.running = True
            self.nudge()

    def seen(self, folder: Path, name: str, state: TaskState | None) -> TaskState | None:
        """What is told of a task whose agent tells `state`: it is preparing while its things are fetched, and has not
        ended before all of it is in the store.
        """
        mirror = Mirror(folder)
        if not mirror.unpublished:
            return state
        self.take(folder)
        if state is None:
            return TaskState(name)
        if state.phase is not Phase.EXITED or mirror.published:
            return state
        return replace(state, phase=Phase.FINALIZING, outcome=None, exit_code=None, error="", ready=False, ended_at=0)

    def stopped(self, folder: Path) -> None:
        """There is a request to stop it."""
        if one := self._jobs.get(folder):
            one.job.wake()

    def drop(self, folder: Path) -> None:
        """The task is removed: nobody works for it any more when this returns, but for calls of the store."""
        with self._changed:
            one = self._jobs.pop(folder, None)
        if one is not None:
            self._end_of(one)

    def settle(self) -> None:
        """A task has gone."""
        self._fetchers.submit(self._settle)

    def nudge(self, owner: str = "") -> None:
        """Something changed, of this owner: look now."""
        with self._changed:
            if self._jobs:
                for one in self._jobs.values():
                    one.alive_due = 0.0 if one.job.task.owner == owner else one.alive_due
                self._nudged = True
                self._changed.notify_all()

    def close(self) -> None:
        """Nothing is begun any more; another engine may go on."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            jobs, self._jobs = list(self._jobs.values()), {}
            self._changed.notify_all()
        for one in jobs:
            self._end_of(one)
        until = time.monotonic() + _CLOSE_S
        for thread in [thread for one in jobs for thread in one.threads]:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        for crew in (self._fetchers, self._storers, self._lookers, self._scribe):
            crew.close()
        self._cache.close()

    def _carried(self, folder: Path, lock: int) -> Carried:
        try:
            job = Job(folder, lock)
        except BaseException:
            os.close(lock)
            raise
        bases, task = Bases(job.mirror.carry / "logs"), job.task
        logs = [Followed(job, self._carrier, bases, log) for log in (*task.logs, task.system_log) if log]
        return Carried(job, Publisher(job, self._carrier, self._storers), logs)

    def _thread(self, one: Carried, do: Callable[[Carried], None]) -> None:
        def work() -> None:
            try:
                do(one)
            except Over:
                return
            except Exception as error:  # the edge: the folder is as it was, and is taken up again
                if folder.exists():
                    _LOG.exception("carrying task %s failed", folder.name)
                    one.job.complain("Carrying this task failed and is begun again", error)
                self._release(one)
            except BaseException:
                self._release(one)
                raise

        folder = one.job.folder
        thread = threading.Thread(target=work, name=f"carry-{folder.name[:40]}", daemon=True)
        one.threads.append(thread)
        thread.start()

    def _give_up(self, folder: Path, mirror: Mirror, error: Exception) -> None:
        """Nobody knows what it is, whoever looks: it is lost, once no agent is there that still does."""
        _LOG.warning("task %s cannot be carried on: what is noted of it cannot be read: %s", folder.name, error)
        head = read_head(folder)
        state = read_state(folder) or (TaskState(head.name) if head else None)
        if state is None or self._folders.attended(folder):
            return  # it had not begun: it is asked for again
        why = f"What its machine has noted of this task cannot be read: {error}."
        _write_state(folder, replace(state, phase=Phase.EXITED, outcome=Outcome.LOST, error=why, ended_at=time.time()))
        mirror.mark_published()

    def _release(self, one: Carried) -> None:
        """Whoever observes the task next takes it up."""
        with self._changed:
            if self._jobs.get(one.job.folder) is one:
                del self._jobs[one.job.folder]
        self._end_of(one)

    def _end_of(self, one: Carried) -> None:
        self._scribe.leave(one.logs)
        one.job.end()

    def _fetch(self, one: Carried) -> None:
        job = one.job
        try:
            Fetch(job, self._carrier, self._cache, self._fetchers).run()
            job.check_start()
            self._launch(job.folder, job.check)
        except Ended as ended:
            self._end(job, ended.outcome, ended.reason)
        except (ArmError, OSError) as error:
            job.check()
            self._end(job, Outcome.SETUP, f"Preparing failed: {reason(error)}")
        except Over:
            raise
        except Exception as error:
            _LOG.exception("fetching for task %s failed", job.folder.name)
            self._end(job, Outcome.LOST, f"The engine of this task failed: {error!r}")
        one.running = True
        self.nudge()

    def _end(self, job: Job, outcome: Outcome, reason: str) -> None:
        """The task ends without an agent."""
        job.say(f"{outcome}: {reason.splitlines()[0]}")
        state = TaskState(
            job.task.name, Phase.EXITED, outcome, error=reason, accepted_at=job.accepted_at, ended_at=time.time()
        )
        with self._folders.door(exclusive=True):
            job.check()
            if read_state(job.folder) is None:
                _write_state(job.folder, state)

    def _tick(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if not self._nudged and not self._closed:
                    self._changed.wait(TICK_S)
                if self._closed:
                    return
                self._nudged = False
                jobs = list(self._jobs.values())
            for one in jobs:
                try:
                    self._look(one)
                except Exception:  # the edge: one task's folder must not end the looking after all others
                    if one.job.folder.exists():
                        _LOG.exception("task %s could not be looked at", one.job.folder.name)

    def _look(self, one: Carried) -> None:
        self._scribe.look(one.logs)
        if not one.running:
            return
        if self._has_ended(one):
            one.running = False
            self._thread(one, self._publish)
        elif not one.syncing and time.monotonic() >= one.publisher.due:
            one.syncing = True
            self._lookers.submit(lambda: self._sync(one))

    def _has_ended(self, one: Carried) -> bool:
        job = one.job
        seen = _version(job.folder / wire.STATE_FILE)
        if seen != one.seen:
            one.seen = seen
            state = read_state(job.folder)
            if state is not None and state.phase is Phase.EXITED:
                return True
        if time.monotonic() >= one.alive_due and not one.asking:
            one.alive_due, one.asking = time.monotonic() + _ALIVE_EVERY_S, True
            self._lookers.submit(lambda: self._ask(one))
        return False

    def _ask(self, one: Carried) -> None:
        """Whether its agent is there: its end is in the state otherwise, or it is begun again where it never was."""
        folder = one.job.folder
        try:
            if self._is_unstarted(folder):
                one.running = False
                self._thread(one, self._fetch)
            elif not self._folders.attended(folder):
                self._observe(folder, one.job.task.name)
                self.nudge()
        except Exception:
            if folder.exists():
                _LOG.exception("task %s could not be asked for", folder.name)
        finally:
            one.asking = False

    def _is_unstarted(self, folder: Path) -> bool:
        """Whether no agent was ever there: what has ended has a state by the time that nobody attends to it."""
        return not self._folders.attended(folder) and read_state(folder) is None

    def _sync(self, one: Carried) -> None:
        try:
            one.publisher.sync()
        except Over:
            pass
        except Exception:
            if one.job.folder.exists():
                _LOG.exception("what task %s wrote could not be looked through", one.job.folder.name)
        finally:
            one.syncing = False

    def _publish(self, one: Carried) -> None:
        """Everything is in the store before anybody hears of the end."""
        job, begun = one.job, time.monotonic()
        stored, fault = one.publisher.finish()
        if stored:
            job.say(f"{stored} files stored {time.monotonic() - begun:.3f} s")
        if fault:
            job.say(fault.splitlines()[0])
            self._note_fault(job, fault)
        for log in one.logs:
            try:
                job.patiently(log.finish, job.check, ours=False)
            except (ArmError, OSError) as error:
                _LOG.warning("a log of task %s cannot be stored: %s", job.folder.name, error)
        gone = job.mirror.carry / "gone"
        with job.held():
            job.mirror.mark_published()
            with contextlib.suppress(FileNotFoundError):
                job.mirror.root.rename(gone)
        self._release(one)
        Hint(job.task.owner, job.task.name).send(self._hints)
        delete_tree(gone)
        self._settle()

    def _note_fault(self, job: Job, fault: str) -> None:
        """As an agent does: what went well did not, if its outputs are not there."""
        state = read_state(job.folder)
        if state is not None and state.outcome is Outcome.EXITED and state.exit_code == 0:
            with job.held():
                _write_state(job.folder, replace(state, outcome=Outcome.SETUP, error=fault))

    def _settle(self) -> None:
        try:
            self._cache.settle()
        except OSError as error:
            _LOG.warning("the read cache could not be tidied: %s", error)


def _write_state(folder: Path, state: TaskState) -> None:
    try:
        write_whole(folder / wire.STATE_FILE, state.to_json())
    except OSError:  # a full disk
        (folder / RESERVE_FILE).unlink(missing_ok=True)
        write_whole(folder / wire.STATE_FILE, state.to_json())


def _version(path: Path) -> tuple[int, ...]:
    try:
        info = path.stat()
    except FileNotFoundError:
        return ()
    return info.st_ino, info.st_mtime_ns


def _lock(path: Path) -> int | None:
    """A descriptor; None if somebody holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    return None
