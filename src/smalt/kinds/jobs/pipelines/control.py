"""Control flow in a pipeline's document: if_else, do_while and parallel_for, as entries beside the steps they rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.arm.validation import nearest
from smalt.kinds.jobs.pipelines.bindings import Binding, binding, document, items
from smalt.kinds.jobs.pipelines.components import DATA
from smalt.kinds.jobs.pipelines.graph import DO_WHILE, IF_ELSE, LOOPS, PARALLEL_FOR, Step
from smalt.kinds.jobs.pipelines.step_type import Component
from smalt.kinds.jobs.pipelines.step_types import is_job

ROUNDS_MOST = 1000
_DEPTH_MOST = 20  # of what is in items


def step(
    name: str,
    type_: str,
    node: Mapping[str, Any],
    nodes: Mapping[str, Any],
    field: str,
    value: Callable[[Binding, str], str | None],
) -> Step:
    """`value`: what a pipeline's input says, None where that is not known yet. Raises ArmError(400)."""
    if type_ == IF_ELSE:
        return _if_else(name, node, nodes, field, value)
    body = _step_named(node.get("body"), nodes, f"{field}.body")
    if type_ == DO_WHILE:
        return _do_while(name, node, nodes, body, field)
    return _parallel_for(name, node, body, field, value)


def _step_named(text: Any, nodes: Mapping[str, Any], field: str) -> str:
    bound = binding(text, field)
    if bound is None or bound.kind != "step":
        raise invalid(f"{field}: name a step: ${{{{parent.jobs.STEP}}}}.", field)
    if bound.step not in nodes or not is_job(nodes[bound.step]):
        hint = nearest(bound.step, list(nodes))
        raise invalid(f"{field}: the pipeline has no step '{bound.step}' that is a job.{hint}", field)
    return bound.step


def _if_else(
    name: str,
    node: Mapping[str, Any],
    nodes: Mapping[str, Any],
    field: str,
    value: Callable[[Binding, str], str | None],
) -> Step:
    said: Any = node.get("condition")
    blocks: Document = {}
    for answer in ("true_block", "false_block"):
        given: Any = node.get(answer) or []
        texts = items(given) if isinstance(given, list) else [given]
        blocks[answer] = [_step_named(text, nodes, f"{field}.{answer}") for text in texts]
    if not blocks["true_block"] and not blocks["false_block"]:
        raise invalid(f"{field}: it has neither true_block nor false_block.", field)
    if both := set(blocks["true_block"]) & set(blocks["false_block"]):
        raise invalid(f"{field}: '{min(both)}' is in both blocks.", field)
    bound = binding(said, f"{field}.condition")
    if bound is not None and bound.kind == "step output":
        if bound.step not in nodes:
            raise invalid(f"{field}.condition: the pipeline has no step '{bound.step}'.", f"{field}.condition")
        condition: Document = {"step": bound.step, "output": bound.name}
        return Step(name, IF_ELSE, after={bound.step: True}, control={"condition": condition, **blocks})
    text = value(bound, f"{field}.condition") if bound is not None else str(said)
    if text is not None and text.strip().lower() not in ("true", "false"):
        raise invalid(
            f"{field}.condition: {text[:80]!r} is neither true nor false; bind it to an output of a step.",
            f"{field}.condition",
        )
    return Step(name, IF_ELSE, control={"condition": {"value": text}, **blocks})


def _do_while(name: str, node: Mapping[str, Any], nodes: Mapping[str, Any], body: str, field: str) -> Step:
    most: Any = document(node.get("limits")).get(
        "max_iteration_count", document(node.get("limits")).get("maxIterationCount")
    )
    if most is None:
        most = ROUNDS_MOST
    if not isinstance(most, int) or not 0 < most <= ROUNDS_MOST:
        where = f"{field}.limits.max_iteration_count"
        raise invalid(f"{where}: {most} is no number from 1 to {ROUNDS_MOST}.", where)
    condition = _port(node.get("condition"), body, "step output", f"{field}.condition") if node.get("condition") else ""
    mapping: dict[str, list[str]] = {}
    for said, to in document(node.get("mapping")).items():
        texts = items(to) if isinstance(to, list) else [to]
        output = _port(said, body, "step output", f"{field}.mapping")
        mapping[output] = [_port(text, body, "input", f"{field}.mapping") for text in texts]
    return Step(name, DO_WHILE, control={"body": body, "condition": condition, "mapping": mapping, "most": most})


def _port(text: Any, body: str, kind: str, field: str) -> str:
    """The name of a port of a loop's body, which is written as such or as a binding. Raises ArmError(400)."""
    said = str(text)
    if "${{" in said and f"parent.jobs.{body}.inputs." in said:
        return said.strip(" ${}").split(".inputs.", 1)[1]
    bound = binding(said, field)
    if bound is None:
        return said
    if bound.kind != kind or (bound.step and bound.step != body):
        raise invalid(f"{field}: {said[:200]} is no port of the loop's body, '{body}'.", field)
    return bound.name


def _parallel_for(
    name: str, node: Mapping[str, Any], body: str, field: str, value: Callable[[Binding, str], str | None]
) -> Step:
    given, after = node.get("items"), dict[str, bool]()
    bound = binding(given, f"{field}.items")
    most: Any = node.get("maxConcurrency") if node.get("max_concurrency") is None else node.get("max_concurrency")
    control: Document = {"body": body, "most": _at_once(most, f"{field}.max_concurrency")}
    if bound is not None and bound.kind == "step output":
        after[bound.step] = True
        control["from"] = {"step": bound.step, "output": bound.name}
    else:
        text = value(bound, f"{field}.items") if bound is not None else given
        if bound is None or text is not None:
            control["items"] = read_items(text, f"{field}.items")
    outputs: Document = {}
    for port, said in document(node.get("outputs")).items():
        to = binding(document(said).get("value"), f"{field}.outputs.{port}")
        outputs[port] = {"to": to.name} if to is not None and to.kind == "output" else {}
    return Step(name, PARALLEL_FOR, outputs=outputs, after=after, control=control)


def _at_once(given: Any, field: str) -> int:
    """How many rounds run side by side; 0: as many as there are. Raises ArmError(400)."""
    try:
        number = 0 if given is None else int(given) if isinstance(given, (int, str)) else -1
    except ValueError:
        number = -1
    if number < 0:
        raise invalid(f"{field}: {str(given)[:80]!r} is no number of rounds.", field)
    return number


def read_items(text: Any, field: str) -> list[Document]:
    """The inputs of each round: a list of objects, or an object of them, as JSON. Raises ArmError(400)."""
    try:
        found: Any = json.loads(text) if isinstance(text, str) else text
    except json.JSONDecodeError as error:
        raise invalid(f"{field}: this is no JSON: {error}.", field) from None
    except RecursionError:
        raise _too_deep(field) from None
    if _is_deeper(found, _DEPTH_MOST):
        raise _too_deep(field)
    rounds = list(document(found).values()) or items(found)
    if not rounds or not all(isinstance(one, dict) for one in rounds):
        raise invalid(f"{field}: give a list of objects, each with inputs of the body; at least one.", field)
    if len(rounds) > ROUNDS_MOST:
        raise invalid(f"{field}: {len(rounds)} rounds are too many; at most {ROUNDS_MOST}.", field)
    return rounds


def _is_deeper(value: Any, most: int) -> bool:
    below = [*document(value).values(), *items(value)]
    return bool(below) and (not most or any(_is_deeper(one, most - 1) for one in below))


def _too_deep(field: str) -> ArmError:
    return invalid(f"{field}: lists and objects are nested more than {_DEPTH_MOST} deep.", field)


def first_round(loop: Step) -> Document:
    """The inputs of a parallel_for's first round; empty where they are not known yet."""
    known = items(loop.control.get("items"))
    return document(known[0]) if known else {}


def rounds(nodes: Mapping[str, Any]) -> dict[str, set[str | None]]:
    """The inputs that each body of a parallel_for has from its rounds; None among them: not known yet."""
    found: dict[str, set[str | None]] = {}
    for node in nodes.values():
        if node.get("type") == PARALLEL_FOR and (bound := _quiet(node.get("body"))):
            try:
                keys: set[str | None] = set(read_items(node.get("items"), "items")[0])
            except ArmError:
                keys = {None}
            found[bound] = keys
    return found


def _quiet(text: Any) -> str:
    try:
        bound = binding(text, "")
    except ArmError:
        return ""
    return bound.step if bound is not None else ""


def check_ports(loop: Step, body: Component, any_input: bool, field: str) -> None:
    """Raises ArmError(400) for ports that the loop names and its body does not have.

    `any_input`: the body's job checks its inputs itself.
    """

    def has(port: str, ports: Mapping[str, Any], what: str, where: str) -> None:
        if port and port not in ports:
            known = ", ".join(ports) or "none"
            raise invalid(f"{where}: the loop's body has no {what} '{port}'; it has: {known}.", where)

    if loop.type == DO_WHILE:
        has(loop.control["condition"], body.outputs, "output", f"{field}.condition")
        for output, inputs in loop.control["mapping"].items():
            has(output, body.outputs, "output", f"{field}.mapping")
            for port in inputs:
                has(port, body.inputs, "input", f"{field}.mapping")
        return
    for port in loop.outputs:
        has(port, body.outputs, "output", f"{field}.outputs")
    for one in loop.control.get("items", []):
        for port in one:
            if not any_input:
                has(port, body.inputs, "input", f"{field}.items")


def gathered(
    bound: Binding, node: Mapping[str, Any], nodes: Mapping[str, Any], components: Mapping[str, Component], field: str
) -> Document:
    """An output of a parallel_for: all its rounds' outputs, as one MLTable, or as the JSON list of their values."""
    body = _step_named(node.get("body"), nodes, f"{field}")
    outputs = components[body].outputs if body in components else {}
    if bound.name not in outputs:
        known = ", ".join(outputs) or "none"
        raise invalid(f"{field}: the body of '{bound.step}' has no output '{bound.name}'; it has: {known}.", field)
    type_ = str(document(outputs[bound.name]).get("type") or "uri_folder").lower()
    return {"type": "mltable" if type_ in DATA else "string"}


def linked(steps: Mapping[str, Step], field: str) -> dict[str, Step]:
    """The steps, each after the control flow that rules it; who needs a loop's body waits for the loop.

    Raises ArmError(400) for a step that two of them rule.
    """
    made = dict(steps)
    ruled: dict[str, str] = {}

    def rule(step: str, by: str) -> None:
        if step in ruled:
            raise invalid(f"{field}.{by}: step '{step}' is ruled by '{ruled[step]}' already.", f"{field}.{by}")
        ruled[step] = by

    for one in steps.values():
        if one.type == IF_ELSE:
            for block, answer in (("true_block", True), ("false_block", False)):
                for name in one.control[block]:
                    rule(name, one.name)
                    made[name] = replace(
                        made[name], when=(one.name, answer), after={**made[name].after, one.name: True}
                    )
    loops = {one.control["body"]: one for one in steps.values() if one.type in LOOPS}
    for body, loop in loops.items():
        rule(body, loop.name)
    for body, loop in loops.items():
        made[loop.name] = replace(loop, after={**made[loop.name].after, **made[body].after})
        made[body] = replace(made[body], loop=loop.name)
    for name, one in made.items():
        for other in one.after:
            if other in loops and loops[other].type == PARALLEL_FOR and not one.loop and one.name != loops[other].name:
                loop = loops[other].name
                raise invalid(
                    f"{field}.{name}: '{other}' runs many times; bind to the outputs of '{loop}'.", f"{field}.{name}"
                )
        after = {
            loops[other].name if other in loops and not one.loop else other: hard for other, hard in one.after.items()
        }
        made[name] = replace(one, after={} if one.loop else after)
    return made
