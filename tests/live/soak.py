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
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from live.patience import ANSWER_S
from live.platform import TERMINAL, Platform, eventually
from live.servers import Servers
from live.soak_checks import Feed, check_nothing_is_left, check_runs
from live.soak_jobs import (
    CANCELED,
    COUNTED,
    ENDPOINT,
    HOLD_S,
    INVOKED,
    LOST,
    PIPELINE,
    SCHEDULED,
    SPOT,
    Job,
    Tally,
    dealt,
    prepare,
)

_ONE_AT_A_TIME = 0.8  # else the other is killed before this one answers again
_FIRES_IN_S = 10
_SURELY = 4  # of so many jobs that are canceled or lose an agent, it comes in time for one
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
    kill_s: float  # kills go on for so long, and each server is killed, and there are two at least
    patience_s: float = 240.0
    kills: int = 0
    asked_in: dict[str, str] = field(default_factory=dict[str, str])  # job → the state in which it was canceled
    lost: dict[str, Victim] = field(default_factory=dict[str, "Victim"])  # by the job
    seen: set[str] = field(default_factory=set[str])  # jobs that are to lose an agent, and had one
    names: dict[str, str] = field(
        default_factory=dict[str, str]
    )  # schedule, request → its job; empty: it came too late

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._ended = threading.Event()

    def run(self) -> str:
        """One line of what was done."""
        begun, all_ = time.monotonic(), dealt(self.seed, self.jobs)
        prepare(self.servers.all[0], self.servers)
        before = self._requests()
        feed = Feed(self.servers.all[0])
        with ThreadPoolExecutor(len(all_) + 1) as pool:
            killing = pool.submit(self._kill_in_turn, random.Random(self.seed + 1), begun)
            fates: list[Future[None]] = []
            try:
                try:
                    for number, job in enumerate(all_):
                        self._submit(self.servers.all[number % len(self.servers.all)], job)
                        if job.fate:
                            fates.append(pool.submit(self._cancel if job.fate == CANCELED else self._lose, job))
                finally:
                    wait([killing])
                killing.result()
                ended = [str(one.root) for one in self.servers.all if not one.is_up()]
                assert not ended, f"supervisors that have ended: {', '.join(ended)}"
                self.servers.wait_until_all_answer()
                wrong = [said for job in all_ if (said := self._judged(job))]
            finally:
                self._ended.set()
            for fate in fates:
                fate.result()
        assert not wrong, "\n".join(wrong)
        self.check_all_was_tried(all_)
        names = [name for job in all_ if (name := self._name(job))]
        self._check_each_request_has_one_job(all_, before)
        check_nothing_is_left(self.servers, names)
        starts = {job.name: Tally(self.servers, job).starts() for job in all_ if job.sort is SPOT}
        check_runs(self.servers.all[-1], feed.check(self.servers, names, starts))
        canceled = ", ".join(f"{state} {count}" for state, count in sorted(Counter(self.asked_in.values()).items()))
        return (
            f"seed {self.seed}: {self.jobs} jobs, {self.kills} kills of servers, {len(self.lost)} of agents,"
            f" canceled while {canceled or '(none)'}; {time.monotonic() - begun:.0f} s; all ended once and as they should"
        )

    # what happens

    def _kill_in_turn(self, chance: random.Random, begun: float) -> None:
        """Raises AssertionError where a server does not come back."""
        all_ = self.servers.all
        first = chance.randrange(len(all_))
        while time.monotonic() - begun < self.kill_s or self.kills < self._kills_least:
            time.sleep(chance.uniform(0.3, 3.0))  # the moment is what is tried
            victim = all_[(first + self.kills) % len(all_)]
            if before := victim.pid("server"):  # else it is not up again yet
                with contextlib.suppress(ProcessLookupError):
                    os.kill(before, signal.SIGKILL)
                    self.kills += 1
            victim.restarted("server", before)
            if chance.random() < _ONE_AT_A_TIME:
                victim.wait_until_it_answers()

    @property
    def _kills_least(self) -> int:
        return max(2, len(self.servers.all))

    def _submit(self, through: Platform, job: Job) -> None:
        Tally.begin(self.servers, job)
        document = job.sort.document(job)
        if job.sort is INVOKED:
            self.names[job.name] = self._invoked(through, job, document)
            return
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

    def _invoked(self, through: Platform, job: Job, document: dict[str, Any]) -> str:
        """As the official client does: a request that is sent again has the same id, and the same job."""
        id_ = {"Repeatability_Request-ID": f"{self.seed}-{job.name}"}
        answer = self._send(through, "POST", f"{ENDPOINT}/jobs", {"properties": document}, (200, 201), id_)
        return str(answer.json()["name"])

    def _cancel(self, job: Job) -> None:
        time.sleep(job.after_s)  # the moment is what is tried
        through, name = self.servers.all[job.number % len(self.servers.all)], self._name(job)
        state = self._send(through, "GET", f"jobs/{name}", None, (200,)).json()["properties"]["status"]
        self._send(through, "POST", f"jobs/{name}/cancel", None, (200, 202))
        self.asked_in[job.name] = state

    def _lose(self, job: Job) -> None:
        """Its agent is killed, or that of one of its jobs, at some moment after the first one has come; if it comes."""
        while not self._ended.wait(0.05):
            if not self._agents(job):
                continue
            self.seen.add(job.name)
            if not self._ended.wait(job.after_s) and (found := self._agents(job)):  # any moment
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
                try:
                    task = json.loads((one.root / "tasks" / name / "task.json").read_text())
                except FileNotFoundError:  # it was removed meanwhile
                    continue
                variables = task["variables"]
                if variables.get("AZUREML_ROOT_RUN_ID") == self._name(job) and state["phase"] in (
                    "preparing",
                    "running",
                ):
                    run = variables["AZUREML_RUN_ID"]
                    mends = PARALLEL if task.get("parallel") else TRIAL if "_" in run else ""
                    found.append(Victim(run, state["agent_pid"], mends))
        return found

    def _send(
        self,
        through: Platform,
        method: str,
        path: str,
        body: Any,
        good: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Again while a server is away, as clients do: what was answered has happened."""

        def answered() -> list[requests.Response]:  # one that is an error is false
            try:
                answer = through.call(method, path, body, headers, timeout_s=ANSWER_S)
            except (requests.RequestException, AssertionError):
                return []
            return [] if answer.status_code in (502, 503, 504) else [answer]

        (answer,) = eventually(answered, f"{method} {path}", pause_s=0.2)
        assert answer.status_code in good, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    # what has become of them

    def check_all_was_tried(self, jobs: Sequence[Job]) -> None:
        """Else it says nothing that all ended as it should. Raises AssertionError."""
        doomed, canceled = ([job.name for job in jobs if job.fate == fate] for fate in (LOST, CANCELED))
        assert self.kills >= self._kills_least, f"{self.kills} kills of {len(self.servers.all)} servers"
        assert self.seen or not doomed, f"no agent was found of any of {doomed}"
        assert self.lost or len(doomed) < _SURELY, f"no agent was killed of {doomed}"
        assert self.asked_in.keys() == {*canceled}, f"{self.asked_in} were canceled of {canceled}"
        in_time = [state for state in self.asked_in.values() if state not in TERMINAL]
        assert in_time or len(canceled) < _SURELY, f"each of {canceled} had ended before it was canceled"

    def _requests(self) -> set[str]:
        return {one["name"] for one in self.servers.all[0].get(f"{ENDPOINT}/jobs")["value"]}

    def _check_each_request_has_one_job(self, jobs: Sequence[Job], before: set[str]) -> None:
        """`before`: those of other seeds."""
        made = sorted(self._requests() - before)
        asked = sorted(self.names[job.name] for job in jobs if job.sort is INVOKED)
        assert made == asked, f"requests have the jobs {asked}, and the endpoint has {made}"

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
        of_which = lost.run if lost and job.sort is PIPELINE else ""  # a pipeline names the step's job
        if lost and not mends and state == "Failed" and "vanished" in error and of_which in error:
            return ""
        return "it should not have ended so"

    @staticmethod
    def _too_often(job: Job, part: str, tally: Tally, mends: str) -> bool:
        if job.sort.again or (part in COUNTED and mends == PARALLEL):
            return False
        return tally.marks("began", part) > 1 or tally.marks("ended", part) > 1
