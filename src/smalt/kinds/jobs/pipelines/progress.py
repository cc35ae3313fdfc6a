"""How far a pipeline is: one letter for each step, and what it decides next.

A pass reads the jobs that are open, those that have just ended, and those whose outputs the next steps take: never all.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Self

from sqlalchemy import Connection, select

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.kind import Step as StepTaken
from smalt.arm.platform import Platform
from smalt.kinds.jobs import again, life, same_work
from smalt.kinds.jobs.children import AT_ONCE, Child, Counts, Plan, rehearsed
from smalt.kinds.jobs.model import AGAIN, CANCEL, ROOT, ROUND, TERMINAL
from smalt.kinds.jobs.pipelines import children, loops, reuse
from smalt.kinds.jobs.pipelines.bindings import document
from smalt.kinds.jobs.pipelines.graph import GRAPH, IF_ELSE, LOOPS, PARALLEL_FOR, Graph, Step, child_name
from smalt.kinds.jobs.pipelines.log import Log
from smalt.kinds.jobs.pipelines.made import Made
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.kinds.jobs.status import JobStatus
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row
from smalt.store.tables import resource

SETTINGS = "settings"  # in a spec's own part
WAITING, OPEN, COMPLETED, FAILED, CANCELED, SKIPPED, YES, NO = ".", "o", "c", "f", "x", "s", "y", "n"
_FINE = frozenset({COMPLETED, YES, NO})
_ENDS = {"Completed": COMPLETED, "Failed": FAILED, "Canceled": CANCELED}
_FAILURES_MOST = 5
_GIVEN_UP: Document = {"given_up": True}  # in place of progress


@dataclass
class Progress:
    """Kept in `status.decided`. `letters`: one for each step, in the graph's order.

    - `failures`: [step, its job, why] of the first that failed. `log`: the length of the log, in bytes.
    - `rounds`: of each loop that has begun (`loops.py`).
    - `sources`: of each output of the pipeline, the job that made it first, and that job's output.
    """

    letters: list[str]
    failures: list[list[str]] = field(default_factory=list[list[str]])
    sources: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    rounds: dict[str, Document] = field(default_factory=dict[str, Document])
    log: int = 0

    @classmethod
    def read(cls, said: Document, graph: Graph) -> Self:
        if not said:
            return cls([WAITING] * len(graph.steps))
        kept = cls(**said)
        return replace(kept, letters=list(kept.letters), rounds=copy.deepcopy(kept.rounds))

    def document(self) -> Document:
        return {
            "letters": "".join(self.letters),
            "failures": self.failures,
            "sources": self.sources,
            "log": self.log,
            "rounds": self.rounds,
        }


def decide(platform: Platform, row: Row, status: JobStatus, counts: Counts) -> Plan:
    return Look(platform, row, status).plan()


def last(platform: Platform, row: Row, status: JobStatus, counts: Counts) -> Plan | None:
    """The step that comes when all others have ended, however they did."""
    graph = Graph.read(row.spec[OURS][GRAPH]) if status.decided != _GIVEN_UP else None
    if graph is None or not graph.steps[-1].last:
        return None
    return Look(platform, row, status).last(status.ending, bool(counts.open))


def give_up(platform: Platform, row: Row, error: Document) -> StepTaken:
    """The pipeline fails; where what comes last raises for good, it ends without that."""
    step, status = life.give_up(platform, row, error), JobStatus.read(row.status)
    return replace(step, status=replace(status, decided=_GIVEN_UP).document()) if status.ending else step


class Look:
    """One look at a pipeline."""

    def __init__(self, platform: Platform, row: Row, status: JobStatus) -> None:
        ours = row.spec[OURS]
        self.platform, self.row, self.graph = platform, row, Graph.read(ours[GRAPH])
        self._settings = Settings.read(ours[SETTINGS])
        self._workspace = ResourceId.parse(row.written).workspace
        self._progress = Progress.read(status.decided, self.graph)
        self._outputs = dict(status.outputs)
        self._log = Log(platform, row, self._progress.log)
        self._jobs: list[Child] = []

    def plan(self) -> Plan:
        with self.platform.database.read() as connection:
            self._connection, self.made = connection, Made(self.platform, connection, self._workspace)
            self._absorb()
            failed = bool(self._progress.failures) and not self._settings.go_on
            more = not failed and self._advance()
        end = self._end(failed)
        if end:
            self._log.say(f"The pipeline ends: {end}.")
        self._progress.log = self._log.written()
        return Plan(
            () if failed else self._jobs,
            more=more,
            decided=self._progress.document(),
            outputs=self._outputs,
            end=end,
            at_once=failed,
            error=self._error() if end == "Failed" else None,
        )

    def last(self, ending: str, others_open: bool) -> Plan | None:
        """What becomes of the last step while the pipeline ends."""
        step, more, end = self.graph.steps[-1], False, ""
        name, letter = self._job(step.name), self._letter(step.name)
        with self.platform.database.read() as connection:
            self._connection, self.made = connection, Made(self.platform, connection, self._workspace)
            if letter == WAITING and not others_open:
                more = not self._begin_last(step)
            elif letter == OPEN and not (ending != "Canceled" and self.row.spec[OURS].get(CANCEL)):
                ended = _ended(self._connection, self._workspace, [name])
                if ended:
                    self._take(step, 0, name, ended[name])
                    more = True
            else:
                return None
        if more and self._letter(step.name) != COMPLETED and ending == "Completed":
            end = "Failed"
        self._progress.log = self._log.written()
        return Plan(
            self._jobs,
            more=more,
            decided=self._progress.document(),
            outputs=self._outputs,
            end=end,
            error=self._error() if end else None,
        )

    def _begin_last(self, step: Step) -> bool:
        """Whether it could be submitted: what is refused now is so for ever."""
        self.submit(step)
        try:
            rehearsed(self.platform, self._connection, self.row, self._jobs[0])
        except ArmError as error:
            self._jobs.clear()
            self._fail(step, self._job(step.name), error.message)
            self._write(step, FAILED)
            return False
        self._write(step, OPEN)
        return True

    def _letter(self, name: str) -> str:
        return self._progress.letters[self.graph.at[name]]

    def _write(self, step: Step, letter: str) -> None:
        self._progress.letters[self.graph.at[step.name]] = letter

    def rounds(self, loop: Step) -> Document:
        begun: Document = {"next": 0, "open": [], "failed": False}
        return self._progress.rounds.setdefault(loop.name, begun)

    def room(self) -> int:
        return AT_ONCE - len(self._jobs)

    def _absorb(self) -> None:
        """The jobs of open steps that have ended since."""
        open_ = {self._job(step.name, turn): (step, turn) for step, turn in self._open()}
        for name, row in _ended(self._connection, self._workspace, list(open_)).items():
            step, turn = open_[name]
            self._take(step, turn, name, row)

    def _take(self, step: Step, turn: int, name: str, row: Row | None) -> None:
        """The step's job has ended, or is not there any more."""
        state = row.state if row is not None else "Canceled"
        self._log.say(f"Step '{step.name}' is {state}{_reused(row)}: job {name}.")
        if row is None:
            self._fail(step, name, "its job was deleted")
        elif state != "Completed":
            self._fail(step, name, str(part(row.status, "error").get("message") or f"it was {state.lower()}"))
        if step.loop:
            loops.ended(self, self.graph.by_name[step.loop], turn, row)
            return
        self._write(step, _ENDS[state])
        if row is not None and state == "Completed":
            self.promote(step, row)

    def _open(self) -> Iterator[tuple[Step, int]]:
        """The steps whose jobs are open, with their rounds."""
        for step in self.graph.steps:
            if self._letter(step.name) == OPEN and step.type in LOOPS:
                body = self.graph.by_name[step.control["body"]]
                yield from ((body, int(turn)) for turn in self.rounds(step)["open"])
            elif self._letter(step.name) == OPEN and not step.loop:
                yield step, 0

    def _job(self, step: str, turn: int = 0) -> str:
        return child_name(self.row, step, turn)

    def _fail(self, step: Step, job: str, why: str) -> None:
        if len(self._progress.failures) < _FAILURES_MOST:
            self._progress.failures.append([step.name, job, why[:2000]])

    def end_loop(self, loop: Step, failed: bool) -> None:
        for step in (loop, self.graph.by_name[loop.control["body"]]):
            self._write(step, FAILED if failed else COMPLETED)

    def promote(self, step: Step, row: Row) -> None:
        """What the step made is an output of the pipeline, if one is bound to it."""
        for port, output in step.outputs.items():
            if (to := output.get("to")) and (place := part(row.status, "outputs").get(port)):
                kept = {key: place[key] for key in ("uri", "jobOutputType") if place.get(key)}
                self.promise(to, kept, reuse.source(row, port))

    def promise(self, to: str, place: Document, source: tuple[str, str]) -> None:
        self._outputs[to] = place
        self._progress.sources[to] = list(source)

    def _advance(self) -> bool:
        """Submit what can run; whether there is more than one pass takes."""
        for step in self.graph.steps:
            letter = self._letter(step.name)
            verdict = self._verdict(step) if letter == WAITING and not step.loop else letter
            if verdict == SKIPPED and letter == WAITING:
                self._write(step, SKIPPED)
                self._log.say(f"Step '{step.name}' is skipped.")
            elif verdict != OPEN or step.loop or step.last:
                continue
            elif step.type in LOOPS:
                self._write(step, OPEN)
                if loops.advance(self, step):
                    return True
            elif letter == WAITING and step.type == IF_ELSE:
                asked = step.control["condition"].get("step")
                self._write(step, YES if loops.answer(self.made, step, self.made_by(asked) if asked else "") else NO)
            elif letter == WAITING:
                if not self.room():
                    return True
                self.submit(step)
                self._write(step, OPEN)
        return False

    def _verdict(self, step: Step) -> str:
        """WAITING, SKIPPED, or OPEN: it can run."""
        letters = {name: self._letter(name) for name in step.after}
        if any(letter in (WAITING, OPEN) for letter in letters.values()):
            return WAITING
        if step.when is not None and letters[step.when[0]] != (YES if step.when[1] else NO):
            return SKIPPED
        for name, needed in step.after.items():
            if letters[name] not in _FINE and (needed or not self._settings.without_optional):
                return SKIPPED
        return OPEN

    def made_by(self, step: str) -> str:
        """The job whose outputs are a step's: the last round's, where it is the body of a loop."""
        loop = self.graph.by_name[step].loop
        return self._job(step, int(self.rounds(self.graph.by_name[loop])["next"]) - 1 if loop else 0)

    def submit(self, step: Step, turn: int = 0, inputs: Mapping[str, Document] | None = None) -> None:
        """The step's job, with `inputs` in place of its own."""
        taken, made_by = dict[str, Document](), dict[str, tuple[str, str]]()
        component = self.graph.component(step)
        for port, given in (step.inputs if inputs is None else inputs).items():
            if "step" not in given:
                taken[port] = children.known(given)
            elif "turn" in given:
                taken[port], made_by[port] = self.made.input(given, self._job(given["step"], given["turn"]))
            elif self._letter(given["step"]) in _FINE:
                taken[port], made_by[port] = self._taken(given)
            elif (default := document(component.inputs.get(port)).get("default")) is not None:
                taken[port] = children.literal(str(default))
        job = children.properties(self.graph, step, taken, self._settings)
        if step.loop:
            job["displayName"] = f"{step.display}_{turn}"
        child = Child(self._job(step.name, turn), job, ours={**self._round(step, turn), **self._once_more(step, turn)})
        if step.name not in (self._settings.on_init, self._settings.on_finalize):  # those always run
            how = reuse.Reuse(self.platform, self._workspace, component, step, made_by, self._settings, self._began)
            child = self._reusing(child, how)
        self._jobs.append(child)
        self._log.say(f"Step '{step.name}' is submitted: job {child.name}.")

    def _reusing(self, child: Child, how: reuse.Reuse) -> Child:
        try:
            seen = how.look(self._connection, lambda: rehearsed(self.platform, self._connection, self.row, child))
        except ArmError:  # it will be refused
            return child
        if seen is None:
            return child
        ours = {ROOT: self._root, **child.ours}
        key = self._workspace.child("jobs", child.name).key
        return replace(child, adapt=partial(how.adapt, seen, key, ours))

    def _round(self, step: Step, turn: int) -> Document:
        """Of which round of a loop its job is a part, as that job's spec says it."""
        known = self._job(step.name, turn) if step.loop else self.row.spec[OURS].get(ROUND)
        return {ROUND: known} if known else {}

    def _once_more(self, step: Step, turn: int) -> Document:
        return again.of_step(self._connection, self._earlier, step, turn) if self._earlier is not None else {}

    @cached_property
    def _earlier(self) -> Row | None:
        """The pipeline that this one is once more."""
        name = self.row.spec[OURS].get(AGAIN)
        return resources.get(self._connection, self._workspace.child("jobs", name).key) if name else None

    @property
    def _root(self) -> str:
        return self.row.spec[OURS].get(ROOT) or self.row.name

    @cached_property
    def _began(self) -> float:
        """When the run began that this pipeline is a part of."""
        if self._root == self.row.name:
            return self.row.created_at
        root = resources.get(self._connection, self._workspace.child("jobs", self._root).key)
        return (root or self.row).created_at

    def _taken(self, given: Document) -> tuple[Document, tuple[str, str]]:
        step = self.graph.by_name[given["step"]]
        if step.type == PARALLEL_FOR:
            return loops.gathered(self, step, given)
        return self.made.input(given, self.made_by(step.name))

    def _end(self, failed: bool) -> str:
        letters = [self._letter(step.name) for step in self.graph.steps if not step.loop and not step.last]
        if failed or not any(letter in (WAITING, OPEN) for letter in letters):
            return "Failed" if self._progress.failures else "Completed"
        return ""

    def _error(self) -> Document:
        said = [f"Step '{step}' (job {job}): {why}" for step, job, why in self._progress.failures]
        return {"code": "StepFailed", "message": "\n".join(said)}


def _reused(row: Row | None) -> str:
    properties = part(row.properties, "properties") if row is not None else {}
    return f", with what job {properties[same_work.REUSED_FROM]} made" if properties.get(same_work.REUSED_FROM) else ""


def _ended(connection: Connection, workspace: ResourceId, names: Sequence[str]) -> dict[str, Row | None]:
    """Those of these jobs that have come to their end, by name; None: it is not there any more."""
    keys = {workspace.child("jobs", name).key: name for name in names}
    query = select(resource.c.id, resource.c.state, resource.c.ended_at).where(resource.c.id.in_(keys))
    states = {one.id: one for one in connection.execute(query)} if keys else {}
    ended = [key for key, one in states.items() if one.ended_at is not None and one.state in TERMINAL]
    rows = resources.get_many(connection, ended)
    return {keys[key]: rows.get(key) for key in keys if key in rows or key not in states}
