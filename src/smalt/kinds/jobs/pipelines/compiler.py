"""From the document of a pipeline to its graph; what is wrong with it is said here, naming the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.validation import nearest
from smalt.kinds.assets import references
from smalt.kinds.jobs import modes
from smalt.kinds.jobs.admission import Checks, asset_type
from smalt.kinds.jobs.pipelines import control, overrides, searched
from smalt.kinds.jobs.pipelines.bindings import Binding, below, binding, bindings, document, filled, items
from smalt.kinds.jobs.pipelines.components import (
    DATA,
    PRIMITIVE,
    check_literal,
    component,
    unsupported,
)
from smalt.kinds.jobs.pipelines.graph import DO_WHILE, IF_ELSE, PARALLEL_FOR, REHEARSED, Graph, Step
from smalt.kinds.jobs.pipelines.step_type import Component, StepType
from smalt.kinds.jobs.pipelines.step_types import TYPES, type_name

_CONTROL = (IF_ELSE, DO_WHILE, PARALLEL_FOR)
STEP_NAME_MOST = 255


@dataclass
class Compiler:
    """One pipeline's document. `inputs` and `outputs` are the pipeline's, as a job has them; `field`: of `jobs`."""

    connection: Connection
    workspace: ResourceId
    inputs: Mapping[str, Document]
    outputs: Mapping[str, Document]
    jobs: Mapping[str, Any]
    checks: Checks
    field: str

    def graph(self) -> Graph | None:
        """None where `checks` have something to say."""
        if not self.jobs:
            self.checks.errors.append(invalid(f"{self.field}: a pipeline has at least one step.", self.field))
        self._nodes = {name: document(one) for name, one in self.jobs.items() if one is not None}
        for name, node in self._nodes.items():
            self.checks.errors += overrides.no_objects(node, self._at(name))
        self._components = {
            name: found
            for name, node in self._nodes.items()
            if type_name(node) not in _CONTROL and (found := self._found(name, node)) is not None
        }
        if self.checks.errors:
            return None
        self._rounds = control.rounds(self._nodes)
        steps = {name: step for name, node in self._nodes.items() if (step := self._step(name, node)) is not None}
        for step in steps.values():
            self._check_control(step, steps)
        if self.checks.errors:
            return None
        linked = self.checks.run(lambda: control.linked(steps, self.field))
        self._check_made_once((linked or {}).values())
        ordered = self.checks.run(lambda: _ordered(linked, self.field)) if linked is not None else None
        if ordered is None or self.checks.errors:
            return None
        return Graph(tuple(ordered), {one.id: dict(one.spec) for one in self._components.values()})

    def _at(self, name: str, *more: str) -> str:
        return ".".join((self.field, name, *more))

    def _found(self, name: str, node: Mapping[str, Any]) -> Component | None:
        type_ = TYPES.get(type_name(node))
        if type_ is None:
            self.checks.errors.append(unsupported(type_name(node), self._at(name, "type")))
            return None
        field = self._at(name, *type_.reference)
        found = self.checks.run(lambda: component(self.connection, self.workspace, type_.component_of(node), field))
        if found is not None and found.type != type_.component:
            message = f"{self._at(name, 'type')}: the step is a {type_.name}, its component a {found.type}."
            self.checks.errors.append(invalid(message, self._at(name, "type")))
        return found

    def _step(self, name: str, node: Mapping[str, Any]) -> Step | None:
        if (control_flow := type_name(node)) in _CONTROL:
            return self.checks.run(
                lambda: control.step(name, control_flow, node, self._nodes, self._at(name), self._known)
            )
        type_, found, after = TYPES[type_name(node)], self._components[name], dict[str, bool]()
        settings = self.checks.run(lambda: self._said(type_, node, self._at(name)))
        self.checks.errors += searched.misfits(settings or {}, found, self._at(name))
        inputs = self._inputs(name, node, found, type_, after)
        outputs = self._outputs(name, node, found)
        return Step(
            name,
            type_.name,
            found.id,
            str(node.get("display_name") or node.get("displayName") or name),
            inputs,
            outputs,
            settings or {},
            after,
        )

    def _said(self, type_: StepType, node: Mapping[str, Any], field: str) -> Document:
        """What the step says of its job, as that one's properties. Raises ArmError(400)."""
        known = type_.known(type_.given(node), lambda value: self._is_unknown(value, field))
        return type_.said(filled(known, lambda bound: self._value(bound, field), field), field)

    def _is_unknown(self, value: Any, field: str) -> bool:
        """Whether a value that is not known yet is a part of the text, or of one at any depth."""
        if inner := [*document(value).values(), *items(value)]:
            return any(self._is_unknown(one, field) for one in inner)
        return any(
            bool(self.inputs.get(each.name, {}).get(REHEARSED))
            for each in bindings(value, field)
            if each.kind == "input"
        )

    def _known(self, bound: Binding, field: str) -> str | None:
        """What a pipeline's input says; None: that is not known yet. Raises ArmError(400)."""
        text = self._value(bound, field)
        return None if self.inputs[bound.name].get(REHEARSED) else text

    def _value(self, bound: Binding, field: str) -> str:
        """What a pipeline's input says in the middle of a text. Raises ArmError(400)."""
        if bound.kind != "input":
            raise invalid(
                f"{field}: what steps make cannot be a part of a text; bind it to an input of its own.", field
            )
        given = self._pipeline_input(bound.name, field)
        if given.get("jobInputType") != "literal":
            raise invalid(f"{field}: the pipeline's input '{bound.name}' is files, and no part of a text.", field)
        return str(given.get("value"))

    def _pipeline_input(self, name: str, field: str) -> Document:
        if name not in self.inputs:
            raise invalid(f"{field}: the pipeline has no input '{name}'.{nearest(name, list(self.inputs))}", field)
        return self.inputs[name]

    def _inputs(
        self, name: str, node: Mapping[str, Any], found: Component, type_: StepType, after: dict[str, bool]
    ) -> Document:
        elsewhere = type_.elsewhere(node)
        given, resolved = document(node.get("inputs")), dict[str, Any]()
        ports = {port: document(one) for port, one in found.inputs.items()}
        for port in given:
            if port not in ports and not type_.completes and given[port] is not None:
                field = self._at(name, "inputs", port)
                message = f"{field}: component '{found.id.split('/components/')[-1]}' has no such input."
                self.checks.errors.append(invalid(f"{message}{nearest(port, list(ports))}", field))
        for port in [*ports, *(port for port in given if port not in ports and type_.completes)]:
            if port in elsewhere:
                continue
            field, definition = self._at(name, "inputs", port), ports.get(port, {})
            value = self.checks.run(
                lambda port=port, definition=definition, field=field: self._input(given.get(port), definition, field)
            )
            if value is not None:
                resolved[port] = value
                if step := value.get("step"):
                    needed = not definition.get("optional")
                    after[step] = after.get(step, False) or needed
            elif port in self._rounds.get(name, ()) or None in self._rounds.get(name, ()):
                continue
            elif not (definition.get("optional") or definition.get("default") is not None) and not _blamed(
                self.checks.errors, field
            ):
                message = f"{field} is missing: the component requires it{_of_type(definition)}."
                self.checks.errors.append(invalid(message, field))
            elif definition.get("default") is not None and not type_.completes:
                resolved[port] = {"value": str(definition["default"])}
        return resolved

    def _input(self, given: Any, definition: Mapping[str, Any], field: str) -> Document | None:
        """What an input is; None: nothing is given. Raises ArmError(400)."""
        if given is None:
            return None
        one: Document = document(given) or {"value": given, "job_input_type": "literal"}
        mode = one.get("mode") or definition.get("mode")
        type_ = str(one.get("job_input_type") or one.get("jobInputType") or "")
        if uri := one.get("uri"):
            return self._files(str(uri), type_, mode, definition, field)
        value = one.get("value")
        if value is None:
            return None
        bound = binding(value, field)
        if bound is None:
            if (path := self._below(value, mode, definition, field)) is not None:
                return path
            known = [self._value(each, field) for each in bindings(value, field)]
            text = filled(str(value), lambda each: self._value(each, field), field) if known else str(value)
            return self._literal(text, self._is_unknown(value, field), definition, field)
        if bound.kind == "input":
            if bound.name not in self.inputs and (definition.get("optional") or definition.get("default") is not None):
                return None
            outer = self._pipeline_input(bound.name, field)
            if outer.get("jobInputType") == "literal":
                return self._literal(str(outer.get("value")), bool(outer.get(REHEARSED)), definition, field)
            return self._files(
                str(outer.get("uri")), str(outer["jobInputType"]), mode or outer.get("mode"), definition, field
            )
        if bound.kind != "step output":
            raise invalid(f"{field}: an input is bound to an input of the pipeline or an output of a step.", field)
        made = self._made(bound, field)
        wants, gives = str(definition.get("type") or "").lower(), str(made.get("type") or "").lower()
        if wants in PRIMITIVE and gives in DATA:
            raise invalid(f"{field}: it takes a value ({wants}), and '{bound.step}' gives files ({gives}).", field)
        if wants in DATA and gives in PRIMITIVE:
            raise invalid(f"{field}: it takes files ({wants}), and '{bound.step}' gives a value ({gives}).", field)
        return {
            "step": bound.step,
            "output": bound.name,
            "mode": mode,
            "type": gives,
            **({"literal": wants or gives} if gives in PRIMITIVE else {}),
        }

    def _below(self, value: Any, mode: Any, definition: Mapping[str, Any], field: str) -> Document | None:
        """What lies below files that are an input of the pipeline; None: the text is something else."""
        found = below(value, field)
        if found is None or found[0].kind != "input":
            return None
        outer = self._pipeline_input(found[0].name, field)
        type_ = str(outer.get("jobInputType"))
        if type_ == "literal":
            return None
        path = filled(found[1], lambda each: self._value(each, field), field)
        uri = str(outer.get("uri"))
        if references.is_asset(uri):
            kind = asset_type(uri, type_)
            row = references.asset(self.connection, self.workspace, uri, kind, field)
            uri = str(row.properties["modelUri" if kind == "models" else "dataUri"])
        inner = str(definition.get("type") or "uri_file")
        return self._files(f"{uri.rstrip('/')}/{path}", inner, mode or outer.get("mode"), definition, field)

    @staticmethod
    def _literal(text: str, unknown: bool, definition: Mapping[str, Any], field: str) -> Document:
        if unknown:
            return {"value": text, REHEARSED: True}
        check_literal(text, definition, field)
        return {"value": text}

    @staticmethod
    def _files(uri: str, type_: str, mode: Any, definition: Mapping[str, Any], field: str) -> Document:
        wants = str(definition.get("type") or "").lower()
        if wants in PRIMITIVE:
            raise invalid(f"{field}: it takes a value ({wants}), and no files ({uri[:200]}).", field)
        return {"uri": uri, "type": type_ or wants or "uri_folder", "mode": mode}

    def _made(self, bound: Binding, field: str) -> Document:
        """The output of a step, as its component declares it. Raises ArmError(400) where there is none."""
        node = self._nodes.get(bound.step)
        if node is None:
            hint = nearest(bound.step, list(self._nodes))
            raise invalid(f"{field}: the pipeline has no step '{bound.step}'.{hint}", field)
        if type_name(node) == PARALLEL_FOR:
            return control.gathered(bound, node, self._nodes, self._components, field)
        if bound.step not in self._components:
            raise invalid(f"{field}: '{bound.step}' is a {type_name(node)}, which has no outputs.", field)
        outputs = self._components[bound.step].outputs
        if bound.name not in outputs:
            known = ", ".join(outputs) or "none"
            raise invalid(f"{field}: step '{bound.step}' has no output '{bound.name}'; it has: {known}.", field)
        said = document(document(node.get("outputs")).get(bound.name))
        return {"type": said.get("job_output_type") or document(outputs[bound.name]).get("type")}

    def _outputs(self, name: str, node: Mapping[str, Any], found: Component) -> Document:
        given, made = document(node.get("outputs")), dict[str, Any]()
        for port in [*found.outputs, *(port for port in given if port not in found.outputs)]:
            field, definition = self._at(name, "outputs", port), document(found.outputs.get(port))
            if port not in found.outputs:
                known = ", ".join(found.outputs) or "none"
                self.checks.errors.append(
                    invalid(f"{field}: the component has no such output; it has: {known}.", field)
                )
                continue
            output = self.checks.run(
                lambda port=port, definition=definition, field=field: self._output(given.get(port), definition, field)
            )
            made[port] = output or {}
        return made

    def _output(self, given: Any, definition: Mapping[str, Any], field: str) -> Document:
        said = document(given) or ({"value": given} if given else {})
        bound = binding(said.get("value"), field) if said.get("value") is not None else None
        outer: Document = {}
        if said.get("value") is not None:
            if bound is None or bound.kind != "output":
                raise invalid(
                    f"{field}: an output is bound to one of the pipeline: ${{{{parent.outputs.NAME}}}}.", field
                )
            if bound.name not in self.outputs:
                hint = nearest(bound.name, list(self.outputs))
                raise invalid(f"{field}: the pipeline has no output '{bound.name}'.{hint}", field)
            outer = self.outputs[bound.name]
        output = {
            "type": said.get("job_output_type") or said.get("jobOutputType") or definition.get("type") or "uri_folder",
            "mode": said.get("mode") or modes.outweighing(outer) or definition.get("mode"),
            "uri": said.get("uri") or outer.get("uri"),
            "assetName": said.get("name") or said.get("assetName"),
            "assetVersion": said.get("version") or said.get("assetVersion"),
            "to": bound.name if bound else None,
        }
        return {key: value for key, value in output.items() if value is not None}

    def _check_made_once(self, steps: Iterable[Step]) -> None:
        """No output of the pipeline is two steps', but where only one of them runs, or the rounds of a loop."""
        made: dict[str, str] = {}
        for step in steps:
            for port, output in step.outputs.items():
                if not (to := output.get("to")) or not step.is_job or step.when is not None or step.loop:
                    continue
                field = self._at(step.name, "outputs", port)
                if to in made:
                    message = f"{field}: the pipeline's output '{to}' is what {made[to]} makes already."
                    self.checks.errors.append(invalid(message, field))
                made.setdefault(to, f"step '{step.name}' ('{port}')")

    def _check_control(self, step: Step, steps: Mapping[str, Step]) -> None:
        """The ports that control flow names are there."""
        field = self._at(step.name)
        if step.type == IF_ELSE and "step" in (condition := document(step.control.get("condition"))):
            bound = Binding("step output", str(condition["output"]), str(condition["step"]))
            self.checks.run(lambda: self._made(bound, f"{field}.condition"))
        if source := step.control.get("from"):
            bound = Binding("step output", str(source["output"]), str(source["step"]))
            self.checks.run(lambda: self._made(bound, f"{field}.items"))
        if body := step.control.get("body"):
            found = self._components[body]
            any_input = TYPES[type_name(self._nodes[body])].completes
            self.checks.run(lambda: control.check_ports(step, found, any_input, field))
            if rounds := step.control.get("items"):
                ports = {port: document(one) for port, one in found.inputs.items()}
                step.control["items"] = [self._round(each, ports, f"{field}.items") for each in rounds]
                self._check_rounds(rounds, steps[body], ports, f"{field}.items")

    def _check_rounds(self, rounds: Sequence[Document], body: Step, ports: Mapping[str, Document], field: str) -> None:
        """What the body requires it has itself, or in each round."""
        node = self._nodes[body.name]
        has = {*body.inputs, *TYPES[type_name(node)].elsewhere(node)}
        for number, each in enumerate(rounds):
            given = {*has, *(port for port, value in each.items() if value is not None)}
            for port, one in ports.items():
                if port not in given and not one.get("optional") and one.get("default") is None:
                    message = f"{field}: round {number} has no '{port}', which the component requires{_of_type(one)}."
                    self.checks.errors.append(invalid(message, field))
                    return

    def _round(self, given: Document, ports: Mapping[str, Document], field: str) -> Document:
        """The inputs of one round of a parallel_for."""

        def known(port: str, value: Any) -> Document | None:
            found = self._input(value, ports.get(port, {}), f"{field}.{port}")
            if found is not None and "step" in found:
                raise invalid(f"{field}.{port}: what a step makes cannot be in items; bind all of them to it.", field)
            return found

        found = {
            port: self.checks.run(lambda port=port, value=value: known(port, value)) for port, value in given.items()
        }
        return {port: one for port, one in found.items() if one is not None}


def _blamed(errors: Sequence[ArmError], field: str) -> bool:
    return any(error.target == field for error in errors)


def _of_type(definition: Mapping[str, Any]) -> str:
    return f" ({definition['type']})" if definition.get("type") else ""


def _ordered(steps: Mapping[str, Step], field: str) -> list[Step]:
    """Raises ArmError(400) for steps that wait for each other."""
    sorter = TopologicalSorter({name: list(step.after) for name, step in steps.items()})
    try:
        return [steps[name] for name in sorter.static_order()]
    except CycleError as error:
        circle = " → ".join(f"'{name}'" for name in reversed(error.args[1]))
        raise invalid(f"{field}: these steps wait for each other: {circle}.", field) from None
