"""Servers killed at random moments under jobs of all sorts, agents killed, jobs canceled: what has to hold in the end.

One server, or two in turn. The seed decides which jobs there are, what happens to which of them and when, and when who is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from live.platform import TERMINAL, Platform, eventually
from live.servers import Servers
from live.soak_checks import Feed, check_nothing_is_left, check_runs
from live.soak_jobs import CANCELED, COUNTED, HOLD_S, PIPELINE, SCHEDULED, SPOT, Job, Tally, dealt, prepare

_ONE_AT_A_TIME = 0.8  # else the other is killed before this one answers again
_FIRES_IN_S = 10
TRIAL, PARALLEL = "trial", "parallel job"


@dataclass(frozen=True)
class Victim:
    """An agent: of the task of which job, and whether that goes on without it."""

    run: str
    pid: int
    mends: str  # a trial, a parallel job; empty: it fails


@dataclass
class Soak:
    """`run` raises AssertionError where something broke."""

    servers: Servers
    seed: int
    jobs: int
    kill_s: float  # kills go on for so long, and until each server has been killed
    patience_s: float = 240.0
    kills: int = 0
    asked_in: Counter[str] = field(default_factory=Counter[str])  # states in which jobs were canceled
    lost: dict[str, Victim] = field(default_factory=dict[str, "Victim"])  # by the job
    names: dict[str, str] = field(default_factory=dict[str, str])  # schedule → its job; empty: it came too late

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._ended = threading.Event()

    def run(self) -> str:
        """One line of what was done."""
        begun, all_ = time.monotonic(), dealt(self.seed, self.jobs)
        prepare(self.servers.all[0], self.servers)
        feed = Feed(self.servers.all[0])
        killer = threading.Thread(target=self._kill_in_turn, args=(random.Random(self.seed + 1), begun))
        killer.start()
        with ThreadPoolExecutor(len(all_)) as pool:
            fates: list[Future[None]] = []
            try:
                try:
                    for number, job in enumerate(all_):
                        self._submit(self.servers.all[number % len(self.servers.all)], job)
                        if job.fate:
                            fates.append(pool.submit(self._cancel if job.fate == CANCELED else self._lose, job))
                finally:
                    killer.join()
                self.servers.wait_until_all_answer()
                wrong = [said for job in all_ if (said := self._judged(job))]
            finally:
                self._ended.set()
            for fate in fates:
                fate.result()
        assert not wrong, "\n".join(wrong)
        check_nothing_is_left(self.servers, [self._name(job) for job in all_])
        starts = {job.name: Tally(self.servers, job).starts() for job in all_ if job.sort is SPOT}
        check_runs(self.servers.all[-1], feed.check(self.servers, starts))
        canceled = ", ".join(f"{state} {count}" for state, count in sorted(self.asked_in.items()))
        return (
            f"seed {self.seed}: {self.jobs} jobs, {self.kills} kills of servers, {len(self.lost)} of agents,"
            f" canceled while {canceled or '(none)'}; {time.monotonic() - begun:.0f} s; all ended once and as they should"
        )

    # what happens

    def _kill_in_turn(self, chance: random.Random, begun: float) -> None:
        all_ = self.servers.all
        turn = first = chance.randrange(len(all_))
        while time.monotonic() - begun < self.kill_s or turn - first < len(all_):
            time.sleep(chance.uniform(0.3, 3.0))  # the moment is what is tried
            victim = all_[turn % len(all_)]
            with contextlib.suppress(AssertionError, ProcessLookupError):  # it is not up again yet
                before = victim.kill("server")
                self.kills += 1
                victim.restarted("server", before)
                if chance.random() < _ONE_AT_A_TIME:
                    victim.wait_until_it_answers(60)
            turn += 1

    def _submit(self, through: Platform, job: Job) -> None:
        Tally.begin(self.servers, job)
        document = job.sort.document(job)
        if job.sort is not SCHEDULED:
            self._send(through, "PUT", f"jobs/{job.name}", {"properties": document}, (200, 201))
            return
        at = datetime.fromtimestamp(int(time.time()) + _FIRES_IN_S, UTC)
        trigger = {
            "triggerType": "Recurrence",
            "frequency": "Day",
            "interval": 1,
            "startTime": f"{at:%Y-%m-%dT%H:%M:%S}",
        }
        body = {"properties": {"trigger": trigger, "action": {"actionType": "CreateJob", "jobDefinition": document}}}
        made = self._send(through, "PUT", f"schedules/{job.name}", body, (200, 201)).json()
        came_in_time = datetime.fromisoformat(made["systemData"]["createdAt"]) < at
        self.names[job.name] = f"{job.name}-{at:%Y%m%dt%H%M%Sz}" if came_in_time else ""

    def _cancel(self, job: Job) -> None:
        time.sleep(job.after_s)  # the moment is what is tried
        through = self.servers.all[job.number % len(self.servers.all)]
        state = self._send(through, "GET", f"jobs/{job.name}", None, (200,)).json()["properties"]["status"]
        self._send(through, "POST", f"jobs/{job.name}/cancel", None, (200, 202))
        self.asked_in[state] += 1

    def _lose(self, job: Job) -> None:
        """Its agent is killed, or that of one of its jobs, at some moment after the first one has come; if it comes."""
        while not self._ended.wait(0.05):
            if self._agents(job) and not self._ended.wait(job.after_s) and (found := self._agents(job)):  # any moment
                victim = found[job.number % len(found)]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGKILL)
                    self.lost[job.name] = victim
                    return

    def _agents(self, job: Job) -> list[Victim]:
        """Of tasks of the job, or of jobs below it, that have not ended."""
        found: list[Victim] = []
        for one in self.servers.all:
            for name, state in one.agents().items():
                with contextlib.suppress(OSError, ValueError, KeyError):
                    task = json.loads((one.root / "tasks" / name / "task.json").read_text())
                    run, root = task["variables"]["AZUREML_RUN_ID"], task["variables"]["AZUREML_ROOT_RUN_ID"]
                    if root == job.name and state["phase"] in ("preparing", "running"):
                        mends = PARALLEL if task.get("parallel") else TRIAL if "_" in run else ""
                        found.append(Victim(run, state["agent_pid"], mends))
        return found

    def _send(self, through: Platform, method: str, path: str, body: Any, good: tuple[int, ...]) -> requests.Response:
        """Again while a server is away, as clients do: what was answered has happened."""

        def answered() -> list[requests.Response]:  # one that is an error is false
            try:
                answer = through.call(method, path, body, timeout_s=20)
            except (requests.RequestException, AssertionError):
                return []
            return [] if answer.status_code in (502, 503, 504) else [answer]

        (answer,) = eventually(answered, f"{method} {path}", 120, 0.2)
        assert answer.status_code in good, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    # what has become of them

    def _name(self, job: Job) -> str:
        return self.names.get(job.name, job.name)

    def _judged(self, job: Job) -> str:
        """What is wrong with it once it has ended; empty: nothing."""
        there, name = self._random.choice(self.servers.all), self._name(job)
        if not name:
            return ""

        def ended() -> bool:
            found = there.call("GET", f"jobs/{name}")
            return found.status_code == 200 and found.json()["properties"]["status"] in TERMINAL

        try:
            eventually(ended, f"the end of {name} ({job.sort.name})", self.patience_s, 0.2)
        except AssertionError as error:
            return f"{error}; it is {there.call('GET', f'jobs/{name}').text[:500]}, it did {Tally(self.servers, job)}"
        state, error, tally = there.job(name)["status"], there.job_error(name), Tally(self.servers, job)
        why = (tally.repeated and "something ran twice") or self._why(job, state, error, tally)
        fate = f", {job.fate}" if job.fate else ""
        return why and f"{why}: {name} ({job.sort.name}{fate}) is {state}: {error[:500]!r}; it did {tally}"

    def _why(self, job: Job, state: str, error: str, tally: Tally) -> str:
        lost = self.lost.get(job.name)
        mends = lost.mends if lost else ""
        often = [part for part in job.sort.parts if self._too_often(job, part, tally, mends)]
        if often:
            return f"{', '.join(often)} ran more than once"
        whole = tally.is_whole(job.sort, missing=mends == TRIAL, recounted=mends == PARALLEL)
        if state == job.sort.end and whole and job.pause_s < HOLD_S:
            return ""
        if job.fate == CANCELED and state == "Canceled":
            return ""
        if lost and not mends and state == "Failed" and ("vanished" in error or job.sort is PIPELINE):
            return ""
        return "it should not have ended so"

    @staticmethod
    def _too_often(job: Job, part: str, tally: Tally, mends: str) -> bool:
        if job.sort.again or (part in COUNTED and mends == PARALLEL):
            return False
        return tally.marks("began", part) > 1 or tally.marks("ended", part) > 1
