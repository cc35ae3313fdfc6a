"""Control flow while a pipeline runs: the answer of an if_else, the rounds of a do_while and of a parallel_for.

`Progress.rounds` has of each loop: `next`, how many rounds were submitted; `open`, those that run; `failed`; and at
the end `outputs`, what a parallel_for has gathered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.kinds.jobs.pipelines import children, reuse
from smalt.kinds.jobs.pipelines.bindings import document, items
from smalt.kinds.jobs.pipelines.components import DATA, PRIMITIVE
from smalt.kinds.jobs.pipelines.control import read_items
from smalt.kinds.jobs.pipelines.graph import DO_WHILE, Graph, Step, child_name
from smalt.kinds.jobs.pipelines.made import Made
from smalt.store.document import part
from smalt.store.resources import Row

_TRUE, _FALSE = ("true", "1"), ("false", "0")


class Pass(Protocol):
    """What control flow asks of one look at a pipeline."""

    platform: Platform
    row: Row
    graph: Graph
    made: Made

    def rounds(self, loop: Step) -> Document: ...

    def room(self) -> int:
        """How many more jobs this pass submits."""
        ...

    def submit(self, step: Step, turn: int = 0, inputs: Mapping[str, Document] | None = None) -> None:
        """`inputs` in place of the step's own."""
        ...

    def made_by(self, step: str) -> str:
        """The job whose outputs are a step's: the last round's, where it is the body of a loop."""
        ...

    def end_loop(self, loop: Step, failed: bool) -> None: ...

    def promote(self, step: Step, row: Row) -> None: ...

    def promise(self, to: str, place: Document, source: tuple[str, str]) -> None:
        """This is an output of the pipeline."""
        ...


def answer(made: Made, step: Step, job: str) -> bool:
    """Of an if_else, whose condition `job` said, if it was a job. Raises ArmError(400)."""
    condition = document(step.control["condition"])
    text = str(condition["value"]) if "value" in condition else made.value(job, condition["output"], condition["step"])
    return _is_true(text, f"The condition of '{step.name}'")


def _is_true(text: str, what: str) -> bool:
    said = text.strip().lower()
    if said not in (*_TRUE, *_FALSE):
        raise ArmError(400, "UserError", f"{what} is neither true nor false: {text[:80]!r}.", "jobs")
    return said in _TRUE


def advance(look: Pass, loop: Step) -> bool:
    """Submit the rounds that can begin; whether there is more than this pass takes."""
    kept, body = look.rounds(loop), look.graph.by_name[loop.control["body"]]
    if loop.type == DO_WHILE:
        if not kept["next"]:
            if not look.room():
                return True
            _begin(look, kept, body, {})
        return False
    rounds = _items(look, loop, kept)
    while kept["next"] < len(rounds) and not kept["failed"]:
        if loop.control["most"] and len(kept["open"]) >= int(loop.control["most"]):
            return False
        if not look.room():
            return True
        _begin(look, kept, body, rounds[int(kept["next"])])
    return False


def _begin(look: Pass, kept: Document, body: Step, inputs: Mapping[str, Document]) -> None:
    turn = int(kept["next"])
    look.submit(body, turn, {**body.inputs, **inputs})
    kept["next"], kept["open"] = turn + 1, [*kept["open"], turn]


def _items(look: Pass, loop: Step, kept: Document) -> list[Document]:
    """The inputs of each round. Raises ArmError(400) for what a step gave that are none."""
    if source := loop.control.get("from"):
        if "items" not in kept:
            job = look.made_by(source["step"])
            text = look.made.value(job, source["output"], source["step"])
            what = f"What step '{source['step']}' gave as items of '{loop.name}'"
            found = read_items(text, what)
            kept["items"] = [{name: _item(one) for name, one in each.items()} for each in found]
        return [document(one) for one in items(kept["items"])]
    return [document(one) for one in items(loop.control["items"])]


def _item(given: Any) -> Document:
    said = document(given)
    if uri := said.get("uri"):
        return {"uri": uri, "type": said.get("job_input_type") or "uri_folder", "mode": said.get("mode")}
    return {"value": str(given)}


def ended(look: Pass, loop: Step, turn: int, row: Row | None) -> None:
    """A round has ended; None: its job was deleted. The pass has noted a failure already."""
    kept, body = look.rounds(loop), look.graph.by_name[loop.control["body"]]
    kept["open"] = [one for one in items(kept["open"]) if one != turn]
    if row is None or row.state != "Completed":
        kept["failed"] = True
    if loop.type == DO_WHILE:
        if row is None or kept["failed"]:
            look.end_loop(loop, failed=True)
        elif _goes_on(look, loop, turn, row):
            _begin(look, kept, body, _mapped(look, loop, body, turn))
        else:
            look.promote(body, row)
            look.end_loop(loop, failed=False)
    elif not kept["open"] and (kept["failed"] or kept["next"] == len(_items(look, loop, kept))):
        if not kept["failed"]:
            kept["outputs"] = _gathered(look, loop, body, int(kept["next"]))
        look.end_loop(loop, failed=kept["failed"])


def _goes_on(look: Pass, loop: Step, turn: int, row: Row) -> bool:
    if turn + 1 >= int(loop.control["most"]):
        return False
    condition = str(loop.control["condition"])
    if not condition:
        return True
    return _is_true(look.made.value(row.name, condition, loop.control["body"]), f"The condition of '{loop.name}'")


def _mapped(look: Pass, loop: Step, body: Step, turn: int) -> dict[str, Document]:
    """The inputs of the next round that this one made."""
    made, outputs = dict[str, Document](), look.graph.component(body).outputs
    for output, ports in loop.control["mapping"].items():
        type_ = str(document(outputs[output]).get("type") or "").lower()
        given: Document = {"step": body.name, "output": output, "type": type_, "turn": turn}
        for port in ports:
            made[port] = given | ({"literal": type_} if type_ in PRIMITIVE else {})
    return made


def _gathered(look: Pass, loop: Step, body: Step, rounds: int) -> Document:
    """Each output of all rounds: files as an MLTable, values as a JSON list of them."""
    found: Document = {}
    for port, output in look.graph.component(body).outputs.items():
        type_ = str(document(output).get("type") or "uri_folder").lower()
        jobs = [child_name(look.row, body.name, turn) for turn in range(rounds)]
        source = _source(look, jobs, port)
        if type_ in DATA:
            table = look.made.table(child_name(look.row, loop.name), port, jobs)
            gathered: Document = {"place": table, "source": source}
            if to := part(loop.outputs, port).get("to"):
                look.promise(to, table, (source, port))
        else:
            gathered = {"value": json.dumps([look.made.value(job, port, body.name) for job in jobs]), "source": source}
        found[port] = gathered
    return found


def _source(look: Pass, jobs: list[str], port: str) -> str:
    """Equal where the same jobs made it first."""
    first = [reuse.source(look.made.row(job), port) for job in jobs]
    return hashlib.sha256(json.dumps(first).encode()).hexdigest()


def gathered(look: Pass, loop: Step, given: Document) -> tuple[Document, tuple[str, str]]:
    """The input that takes an output of a parallel_for, and what stands for who made it."""
    output = str(given["output"])
    found = document(look.rounds(loop).get("outputs")).get(output)
    if found is None:
        raise invalid(f"'{loop.name}' completed without its output '{output}'.", "jobs")
    source = (str(found["source"]), output)
    if "value" in found:
        return children.literal(found["value"]), source
    return children.files(str(found["place"]["uri"]), "mltable", given.get("mode")), source
