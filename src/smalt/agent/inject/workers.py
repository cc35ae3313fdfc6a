"""The threads that call the model, and what stops a call whose time is over.

The first worker is the main thread: user code there may use signals, and an alarm ends even a `sleep` or a read. HTTP
has a thread of its own, so health is answered while the model works. What waits together is handed over together to a
scorer that can use it (`max_requests` over 1).
"""

from __future__ import annotations

import ctypes
import logging
import queue
import signal
import threading
import time
from typing import Any, Callable, Protocol

from .http1 import Request
from .outcome import Outcome, ScoringTimeout

PAUSE_S = 0.0001  # in which the HTTP thread reads what has arrived


class Scorer(Protocol):
    """The model. `score` gets one to `max_requests` requests and returns as many outcomes, in their order; it raises
    only ScoringTimeout. `once`: what it has begun with must not be given to another instance, should this one die."""

    max_requests: int
    once: bool

    def score(self, requests: list[Request]) -> list[Outcome]: ...


class Alarm(Protocol):
    def start(self, seconds: float) -> None: ...

    def stop(self) -> None: ...


class Job:
    """One request on its way through a worker. `answered` is set in the HTTP thread alone; `taken` and `ended`
    (time.perf_counter()) by the worker, before it hands the job back. `begin` and `more` are for answers in pieces;
    `tell`, where there is one, says to the client that the model is called with it."""

    __slots__ = ("_lock", "answered", "begin", "deadline", "ended", "more", "reply", "request", "taken", "tell")

    def __init__(self, request: Request, deadline: float) -> None:
        self.request = request
        self.deadline = deadline  # time.perf_counter(); infinite where there is none
        self.reply: Callable[[Outcome], None] = lambda outcome: None
        self.begin: Callable[[Outcome], None] = lambda outcome: None
        self.more: Callable[[bytes, Callable[[], None]], None] = lambda piece, taken: taken()
        self.tell: Callable[[], None] | None = None
        self.answered = False
        self.taken = self.ended = request.arrived
        self._lock = threading.Lock()

    def begins(self) -> None:
        """In a worker's thread, before the model is called. Nothing is told of what is answered."""
        if self.tell is not None:
            with self._lock:
                if not self.answered:
                    self.tell()

    def ends(self) -> None:
        """In the HTTP thread, before the answer."""
        with self._lock:
            self.answered = True


class SignalAlarm:
    """For the main thread: SIGALRM raises ScoringTimeout in it, wherever it is."""

    def __init__(self) -> None:
        self._armed = False

    def start(self, seconds: float) -> None:
        if signal.getsignal(signal.SIGALRM) != self._ring:  # user code may have used the signal
            signal.signal(signal.SIGALRM, self._ring)
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def stop(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, signum: int, frame: Any) -> None:
        if self._armed:
            self._armed = False
            raise ScoringTimeout


class ThreadAlarm:
    """For the other threads: `check`, called now and then from outside, raises ScoringTimeout between two bytecodes of
    the thread. A call that blocks in C is not ended by it; its client is answered all the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._thread = 0

    def start(self, seconds: float) -> None:
        with self._lock:
            self._thread = threading.get_ident()
            self._deadline = time.monotonic() + seconds

    def stop(self) -> None:
        with self._lock:
            self._deadline = None
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)

    def check(self) -> None:
        with self._lock:
            if self._deadline is None or time.monotonic() < self._deadline:
                return
            self._deadline = None
            raised = ctypes.py_object(ScoringTimeout)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), raised)


class Worker:
    """One thread's loop over the queue."""

    def __init__(self, pool: Pool, alarm: Alarm) -> None:
        self._pool = pool
        self._alarm = alarm
        self.must_end_by = float("inf")  # time.perf_counter(); read by the HTTP thread

    def run(self) -> None:
        """Until the pool is stopped."""
        while True:
            batch = self._pool.take()
            if batch is None:
                return
            taken = time.perf_counter()
            for job in batch:
                job.begins()
            outcomes = self._call(batch)
            ended = time.perf_counter()
            self._pool.took(ended - taken)
            for job in batch:
                job.taken, job.ended = taken, ended
            self._pool.done(batch, outcomes)

    def check(self) -> None:
        if isinstance(self._alarm, ThreadAlarm):
            self._alarm.check()

    def _call(self, batch: list[Job]) -> list[Outcome] | None:
        """None where the time was over."""
        now = time.perf_counter()
        seconds = max(min(self._pool.limit_s, max(job.deadline for job in batch) - now), 0.001)
        self.must_end_by = now + seconds
        try:
            try:
                self._alarm.start(min(seconds, threading.TIMEOUT_MAX))
                outcomes = self._pool.scorer.score([job.request for job in batch])
                for job, outcome in zip(batch, outcomes):
                    if outcome.pieces is not None:
                        self._pool.stream(job, outcome)
                return outcomes
            finally:
                self._alarm.stop()
                self.must_end_by = float("inf")
        except ScoringTimeout:
            return None
        except BaseException:
            logging.getLogger("smalt.inference").exception("the model's adapter failed")
            return []


class Pool:
    """The queue and its workers. `limit_s` bounds a call; `done` is called in a worker's thread with the batch and its
    outcomes: None where the time was over, an empty list where the adapter itself failed. `stream`, in it too, sends
    the pieces of an outcome."""

    def __init__(
        self,
        scorer: Scorer,
        limit_s: float,
        threads: int,
        done: Callable[[list[Job], list[Outcome] | None], None],
        stream: Callable[[Job, Outcome], None],
    ) -> None:
        self.scorer = scorer
        self.limit_s = limit_s
        self.done = done
        self.stream = stream
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._together = 1  # about how many have come together lately
        self._call_s = 0.0  # of the last call
        self.main = Worker(self, SignalAlarm())
        self._others = [Worker(self, ThreadAlarm()) for _ in range(threads - 1)]

    def start(self) -> None:
        """Starts all workers but the main thread's, whose `main.run()` the caller calls."""
        for index, worker in enumerate(self._others):
            threading.Thread(target=worker.run, name=f"scoring-{index + 1}", daemon=True).start()

    def put(self, job: Job) -> None:
        self._queue.put(job)

    def stop(self) -> None:
        for _ in range(1 + len(self._others)):
            self._queue.put(None)

    def took(self, seconds: float) -> None:
        """So long a call lasted."""
        self._call_s = seconds

    def take(self) -> list[Job] | None:
        """Waits for a job, then takes with it what else is waiting, and what is about to come.

        Who was answered together asks again together. So where more came lately than have come now, those are waited
        for as long as one more comes with each pause, but no longer than a call takes.
        """
        while True:
            job = self._queue.get()
            if job is None:
                return None
            batch = [] if job.answered else [job]
            until = time.perf_counter() + self._call_s
            while batch and len(batch) < self.scorer.max_requests:
                if self._queue.empty() and not self._more(len(batch), until):
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    self._queue.put(None)
                    break
                if not job.answered:
                    batch.append(job)
            if batch:
                self._together = max(len(batch), self._together - 1)
                return batch

    def _more(self, count: int, until: float) -> bool:
        """Whether one more came in the pause that `count` of them are worth."""
        if count >= self._together or time.perf_counter() + PAUSE_S > until:
            return False
        time.sleep(PAUSE_S)
        return not self._queue.empty()

    @property
    def has_threads(self) -> bool:
        return bool(self._others)

    def check(self) -> None:
        for worker in self._others:
            worker.check()

    def stuck(self, grace_s: float) -> bool:
        """Every worker is `grace_s` past the end of its time: nothing will be answered any more."""
        now = time.perf_counter() - grace_s
        return all(worker.must_end_by < now for worker in [self.main, *self._others])
