"""What a sweep does next: it looks at the trials that were open, keeps the best, ends bad ones early, submits others.

A step looks at the trials that were open the last time, at most as many as run side by side. What it decides and the
trials that follow from that are written together (`children.step`); the same step again decides the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from smalt.agent.wire import Ref
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.arm.runs import described
from smalt.kinds.jobs import launch, life
from smalt.kinds.jobs.children import AT_ONCE, Child, Counts, Plan
from smalt.kinds.jobs.model import TERMINAL
from smalt.kinds.jobs.status import JobStatus
from smalt.kinds.jobs.sweeps import trials
from smalt.kinds.jobs.sweeps.journal import Journal
from smalt.kinds.jobs.sweeps.plan import SweepPlan
from smalt.kinds.jobs.sweeps.policies import Logged
from smalt.kinds.jobs.sweeps.progress import BEST, Best, Progress
from smalt.store import resources
from smalt.store.children import PACE_S
from smalt.store.document import part
from smalt.store.resources import Lock, Row

NAMED_MOST = 10  # metrics in a message
FAILED_FIRST = 3  # where so many have ended and all of them failed, the sweep fails, as Azure's does


def decide(platform: Platform, row: Row, status: JobStatus, counts: Counts) -> Plan:
    now = platform.clock()
    with platform.database.read() as connection:
        artifacts = launch.artifacts_of(connection, row)
    one = _Step(platform, row, SweepPlan.of(row), Progress.read(status.decided), now, artifacts)
    return one.plan(status.started_at or now)


def say_end(platform: Platform, row: Row, state: str) -> None:
    """The last line of the journal."""
    with platform.database.read() as connection:
        artifacts = launch.artifacts_of(connection, row)
    journal = Journal(Progress.read(JobStatus.read(row.status).decided).log, platform.clock())
    journal.say("CONTROLLER", f"The sweep has ended: {state}.")
    journal.write(platform.blobs, artifacts)


@dataclass
class _Step:
    platform: Platform
    row: Row
    sweep: SweepPlan
    known: Progress
    now: float
    artifacts: Ref

    def __post_init__(self) -> None:
        self.workspace = ResourceId.parse(self.row.written).workspace
        self.journal = Journal(self.known.log, self.now)
        self.best = self.known.best
        self.compare_in = life.RESYNC_S  # seconds

    def plan(self, started_at: float) -> Plan:
        if not self.known.submitted:
            self.journal.say("API", f"Experiment created: up to {self.sweep.total} trials.")
        self._take_ended()
        left = self.sweep.timeout_s - (self.now - started_at) if self.sweep.timeout_s else life.RESYNC_S
        if left <= 0:
            message = f"The sweep ran longer than its limits.timeout, {self.sweep.timeout_s:g} s."
            return self._planned(Plan(end="Canceled", error={"code": "JobTimeout", "message": message}, at_once=True))
        if error := self._failure():
            return self._planned(Plan(end="Failed", error=error, at_once=True))
        cancel = self._ended_early()
        children = self._sampled()
        if not children and not self.known.open and self.known.submitted >= self.sweep.total:
            return self._planned(self._end())
        more = bool(children) and len(children) == AT_ONCE
        return self._planned(Plan(children, more, cancel=cancel, after=min(self.compare_in, left) + 0.01))

    def _planned(self, plan: Plan) -> Plan:
        if plan.error:
            self.journal.say("CONTROLLER", str(plan.error["message"]), "ERROR")
        self.known.log = self.journal.write(self.platform.blobs, self.artifacts)
        writes = None if self.best == self.known.best else self._describe
        self.known.best = self.best
        return replace(plan, decided=self.known.document(), writes=writes)

    # what has ended

    def _take_ended(self) -> None:
        """What has become of the trials that were open."""
        ids = {number: self.workspace.child("jobs", self._name(number)).key for number in self.known.open}
        with self.platform.database.read() as connection:
            rows = resources.get_many(connection, ids.values())
        ended = [number for number in self.known.open if (row := rows.get(ids[number])) is None or _has_ended(row)]
        logged = self._series(ended) if ended else {}
        for number in ended:
            self._take(number, rows.get(ids[number]), logged.get(number, ()))
        self.known.open = [number for number in self.known.open if number not in ended]

    def _take(self, number: int, row: Row | None, values: Sequence[float]) -> None:
        state = row.state if row is not None and row.state in TERMINAL else "Canceled"
        score = (max(values) if self.sweep.maximize else min(values)) if values else None
        self.known.ended[state] = self.known.ended.get(state, 0) + 1
        self.known.asked = [one for one in self.known.asked if one != number]
        if self.sweep.termination and state != "Completed":
            self.known.cut.append(number)
        if self.sweep.sampler.learns:
            self.known.tried[number] = (self.known.tried[number][0], score)
        if state == "Failed" and not self.known.error and row is not None:
            self.known.error = f"{row.name}: {part(row.status, 'error').get('message', '')}"[:2000]
        said = f"{self.sweep.metric} = {score!r}" if score is not None else f"it logged no '{self.sweep.metric}'"
        self.journal.say("CONTROLLER", f"'{self._name(number)}' has ended: {state}; {said}.")
        if score is not None:
            self._compare(Best(number, score, state == "Completed"), row)

    def _compare(self, found: Best, row: Row | None) -> None:
        if row is None or not found.is_better(self.best, self.sweep.maximize):
            return
        self.best = found
        self.journal.say("CONTROLLER", f"The best trial is '{self._name(found.number)}' now.")
        self.platform.tracking.log_metric(
            self.workspace.key,
            self.row.name,
            self.sweep.metric,
            found.score,
            row.ended_at or self.now,
            self.known.all_ended,
        )

    def _failure(self) -> Document | None:
        """Why the sweep is given up now."""
        failed = self.known.ended.get("Failed", 0)
        if failed < FAILED_FIRST or failed < self.known.all_ended:
            return None
        message = f"The first {failed} trials have failed. The first of them, {self.known.error}"
        return {"code": "TrialsFailed", "message": message}

    def _end(self) -> Plan:
        """All trials have ended."""
        self.journal.say("GENERATOR", "All jobs generated.")
        if self.best is not None:
            with self.platform.database.read() as connection:
                best = resources.get(connection, self.workspace.child("jobs", self._name(self.best.number)).key)
            return Plan(end="Completed", outputs=self._outputs(best) if best is not None else None)
        if failed := self.known.ended.get("Failed", 0):
            message = f"No trial has a result; {failed} failed. The first of them, {self.known.error}"
            return Plan(end="Failed", error={"code": "TrialsFailed", "message": message})
        return Plan(end="Failed", error={"code": "PrimaryMetricNotLogged", "message": self._nothing_logged()})

    def _nothing_logged(self) -> str:
        metric = self.sweep.metric
        trials = [self._name(number) for number in range(self.known.submitted)]
        names = self.platform.tracking.metric_names(self.workspace.key, trials)
        if metric in names:
            return f"Trials logged NaN alone as the primary metric '{metric}': no value is better than another."
        more = f" and {len(names) - NAMED_MOST} more" if len(names) > NAMED_MOST else ""
        instead = f"; they logged {', '.join(map(repr, names[:NAMED_MOST]))}{more}" if names else ""
        return (
            f"No trial logged the primary metric '{metric}'{instead}. Log it under exactly"
            f" this name, mlflow.log_metric('{metric}', value), or change objective.primaryMetric."
        )

    def _outputs(self, best: Row) -> Document:
        places = JobStatus.outputs_of(best.status)
        return {name: dict(place) for name, place in places.items() if name in part(self.row.properties, "outputs")}

    # what comes next

    def _ended_early(self) -> Sequence[str]:
        if self.sweep.termination is None or not (set(self.known.open) - set(self.known.asked)):
            return ()
        pace = PACE_S * self.known.submitted  # a look reads all that all have logged
        left = self.known.compared_at + pace - self.now
        if 0 < left <= pace:
            self.compare_in = left
            return ()
        self.known.compared_at = self.now
        live, cut = set(self.known.open) - set(self.known.asked), set(self.known.cut) | set(self.known.asked)
        compared = {
            number: Logged(values, number in live, number not in live and number not in cut)
            for number, values in self._series(range(self.known.submitted)).items()
            if values
        }
        numbers = self.sweep.termination.to_end(compared)
        names = [self._name(number) for number in numbers]
        if names:
            self.known.asked += numbers
            self.known.early += numbers
            self.journal.say("ENFORCER", f"Jobs {names} are going to be canceled by the early termination policy.")
        return names

    def _sampled(self) -> Sequence[Child]:
        known, sweep = self.known, self.sweep
        count = max(0, min(AT_ONCE, sweep.total - known.submitted, sweep.concurrent - len(known.open)))
        if not count:
            return ()
        self.journal.say("GENERATOR", f"Trying to sample '{count}' jobs from the hyperparameter space.")
        found: list[Child] = []
        for _ in range(count):
            number = known.submitted
            values = sweep.sampler.sample(number, known.before())
            found.append(
                trials.child(self.row.name, number, self.row.properties, values, sweep.termination is not None)
            )
            known.submitted += 1
            known.open.append(number)
            if sweep.sampler.learns:
                known.tried.append((values, None))
            self.journal.say("SCHEDULER", f"Scheduling job, id='{self._name(number)}': {json.dumps(dict(values))}")
        if known.submitted >= sweep.total:
            self.journal.say("GENERATOR", f"Max number of jobs '{sweep.total}' reached for experiment.")
        return found

    def _series(self, numbers: Sequence[int]) -> dict[int, Sequence[float]]:
        names = {self._name(number): number for number in numbers}
        found = self.platform.tracking.metric_series(self.workspace.key, list(names), self.sweep.metric)
        return {names[name]: values for name, values in found.items()}

    def _describe(self, connection: Connection) -> None:
        """Clients look for the best trial in the sweep's properties."""
        assert self.best is not None
        current = resources.get(connection, self.row.id, Lock.WRITE)
        if current is None:
            return
        name = self._name(self.best.number)
        said = dict(zip(BEST, (name, repr(self.best.score), "Succeeded", f"dcid.{name}"), strict=True))
        properties = {**current.properties, "properties": {**part(current.properties, "properties"), **said}}
        spec = described(current, properties, current.archived)
        resources.describe(connection, current, spec, archived=current.archived, now=self.now, by="smalt")

    def _name(self, number: int) -> str:
        return trials.name_of(self.row.name, number)


def _has_ended(row: Row) -> bool:
    return row.ended_at is not None and row.state in TERMINAL
