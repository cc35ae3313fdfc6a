"""From the command's start to its end: one loop in the agent's only thread, which sleeps until something happens.

What can happen: a child ends (SIGCHLD), the server asks to stop (SIGUSR1 with `stop.json`), the machine shuts down
(SIGTERM), time is up, a probe has an answer, a log is to be looked at, or what the task uses (`bounds`).
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Sequence
from types import FrameType

from smalt.agent.bounds import Bound, Ending
from smalt.agent.folder import Report, TaskFolder
from smalt.agent.foreman import shell_code
from smalt.agent.journal import Journal
from smalt.agent.log_bound import BoundedLog
from smalt.agent.probes import Prober
from smalt.agent.processes import Brood
from smalt.agent.wire import Outcome, TaskSpec

_UNWELL_GRACE_S = 5.0  # of who does not answer its liveness probe: it finishes nothing that clients wait for


class Interrupted(Exception):
    """Raised out of preparing when the task is to stop."""


class Interrupts:
    """Signals as events: they wake `selector`, and break off preparing by raising Interrupted."""

    def __init__(self, folder: TaskFolder, default_grace_s: float) -> None:
        self.selector = selectors.DefaultSelector()
        self.shutdown = False
        self._folder = folder
        self._default_grace_s = default_grace_s
        self._preparing = False
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.selector.register(self._reading, selectors.EVENT_READ, self._drain)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGUSR1, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def grace_s(self) -> float | None:
        """None as long as nobody wants the task to stop."""
        request = self._folder.stop_request()
        if request is not None:
            return request.grace_s
        return self._default_grace_s if self.shutdown else None

    def break_off(self, allowed: bool) -> None:
        """From now on a stop raises Interrupted (at once, if one is there already), or no longer does."""
        self._preparing = allowed
        if allowed and self.grace_s() is not None:
            self._preparing = False  # once: its signal may be still to come
            raise Interrupted

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.shutdown = self.shutdown or number == signal.SIGTERM
        if self._preparing and self.grace_s() is not None:
            self._preparing = False
            raise Interrupted

    def _drain(self) -> None:
        while True:
            try:
                if not os.read(self._reading, 512):
                    return
            except BlockingIOError:
                return


class Supervisor:
    """Watches one started command. `run` returns when it has ended, and after a stop all of its descendants too."""

    def __init__(
        self,
        spec: TaskSpec,
        brood: Brood,
        interrupts: Interrupts,
        report: Report,
        journal: Journal,
        logs: Sequence[BoundedLog],
        bounds: Sequence[Bound] = (),
    ) -> None:
        self._spec = spec
        self._brood = brood
        self._interrupts = interrupts
        self._report = report
        self._journal = journal
        self._logs = logs
        self._bounds = bounds
        self._ending = Ending(Outcome.EXITED)
        self._kill_at: float | None = None
        self._timeout_at = time.monotonic() + spec.timeout_s if spec.timeout_s > 0 else None
        self._probers: list[Prober] = []
        address, selector = report.state.address, interrupts.selector
        if spec.ready:
            self._probers.append(Prober(spec.ready, address, selector, self._on_ready, eager=True))
        if spec.live:
            self._probers.append(Prober(spec.live, address, selector, self._on_live, eager=False))

    def run(self) -> Ending:
        while True:
            left = self._brood.reap()
            if self._brood.status is not None and not (left and self._stopping):
                break
            self._stop_if_asked()
            self._stop_if_late()
            for log in self._logs:
                log.tick()
            self._stop_if_over()
            for prober in self._probers:
                prober.tick()
            for key, _ in self._interrupts.selector.select(self._pause_s()):
                key.data()
        self._end_probes()
        return self._ending

    @property
    def _stopping(self) -> bool:
        return self._kill_at is not None

    def _pause_s(self) -> float:
        times = [
            *(log.due for log in self._logs),
            *(bound.due for bound in self._bounds),
            *(prober.due for prober in self._probers),
        ]
        times += [at for at in (self._kill_at, self._timeout_at) if at is not None]
        return max(0.0, min(times) - time.monotonic())

    def _stop_if_asked(self) -> None:
        grace_s = self._interrupts.grace_s()
        if grace_s is None:
            return
        if not self._stopping:
            shutdown = self._interrupts.shutdown
            self._stop(
                Ending(Outcome.LOST, "The agent of this task was ended (SIGTERM), as when the machine shuts down.")
                if shutdown
                else Ending(Outcome.STOPPED, "The task was stopped."),
                grace_s,
            )
        elif self._kill_at is not None:  # asked again, with less patience
            self._kill_at = min(self._kill_at, time.monotonic() + grace_s)

    def _stop_if_late(self) -> None:
        now = time.monotonic()
        if self._timeout_at is not None and now >= self._timeout_at:
            self._timeout_at = None
            limit_s = self._spec.timeout_s
            reason = f"The command ran longer than its limit of {limit_s:g} s and was stopped."
            self._stop(Ending(Outcome.TIMEOUT, reason), self._spec.grace_s)
        if self._kill_at is not None and now >= self._kill_at:
            self._journal.say("the grace is over: SIGKILL")
            self._brood.signal(signal.SIGKILL)
            self._kill_at = now + 1  # again, for what was forked meanwhile

    def _stop_if_over(self) -> None:
        """Without grace: what is over a limit goes on to take more."""
        for bound in self._bounds:
            if ending := bound.look():
                self._bounds = ()
                self._stop(ending, 0)

    def _stop(self, ending: Ending, grace_s: float) -> None:
        if self._stopping:
            return
        self._end_probes()
        self._ending = ending
        self._timeout_at = None
        self._kill_at = time.monotonic() + max(0.0, grace_s)
        self._journal.say(f"{ending.reason} SIGTERM; SIGKILL in {grace_s:g} s")
        self._brood.signal(signal.SIGTERM)

    def _end_probes(self) -> None:
        for prober in self._probers:
            prober.close()
        self._probers = []

    def _on_ready(self, ready: bool, detail: str) -> None:
        self._journal.say(f"ready probe: {'ready' if ready else 'not ready'} ({detail})")
        self._report.change(ready=ready)

    def _on_live(self, alive: bool, detail: str) -> None:
        probe = self._spec.live
        if alive or probe is None:
            return
        self._report.change(ready=False)  # no more requests come while it has time to end
        reason = (
            f"Liveness probe failed {probe.failure_threshold} times in a row (GET {probe.path}: {detail}); "
            "the process was killed."
        )
        self._stop(Ending(Outcome.EXITED, reason), min(self._spec.grace_s, _UNWELL_GRACE_S))


def hold(
    spec: TaskSpec,
    ending: Ending,
    brood: Brood,
    interrupts: Interrupts,
    report: Report,
    journal: Journal,
    bounds: Sequence[Bound],
) -> None:
    """Where the command has failed, what is around it stays for `hold_s`, which is reported, unless the task is to end.

    What is over a limit meanwhile ends it too.
    """
    failed = brood.status != 0 or ending.outcome is not Outcome.EXITED
    if spec.hold_s and failed and interrupts.grace_s() is None:
        until = time.monotonic() + spec.hold_s
        why = ending.reason or f"The command ended with exit code {shell_code(brood.status or 0)}."
        report.change(held_until=time.time() + spec.hold_s, error=why)
        journal.say(f"the command has failed; its walls and its node are kept for {spec.hold_s:g} s, or until a cancel")
        while (left := until - time.monotonic()) > 0 and interrupts.grace_s() is None:
            due = min((bound.due for bound in bounds), default=until) - time.monotonic()
            for key, _ in interrupts.selector.select(max(0.0, min(left, due))):
                key.data()
            brood.reap()
            if any(bound.look() for bound in bounds):
                break
        journal.say("what was kept is given back")
    brood.staying = False
    brood.leave()
