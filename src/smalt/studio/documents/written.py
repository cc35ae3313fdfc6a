"""YAML that somebody types: its values, the line of each, and what is wrong with which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from smalt.arm.yaml_text import HasAliases, read_nodes
from smalt.store.document import Document

Path = tuple[str, ...]
_DEEPEST = 40
_TEXT_MOST = 128 << 10  # characters
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Fault:
    """`path`: from the top of the document, as far as it is there."""

    path: Path
    message: str


class Faulty(Exception):
    """What is wrong with a document, all of it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(one.message for one in faults))
        self.faults = faults


@dataclass(frozen=True)
class Written:
    """`lines`: of each entry, from 1, by its path."""

    document: Document
    lines: Mapping[Path, int] = field(default_factory=dict[Path, int])

    def line(self, path: Path) -> int:
        """Of the entry, or of what it would be in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def placed(self, faults: Iterable[Fault]) -> list[Document]:
        """As an editor shows them, from above to below."""
        found = [{"line": self.line(one.path), "message": one.message} for one in faults]
        return sorted(found, key=lambda one: one["line"])


def read(text: str, what: str = "A job is a mapping, as 'command: python train.py' in its first line.") -> Written:
    """Raises Faulty with one fault, whose path is the number of its line; with `what` where it is no mapping.

    For a thread: it may take a moment.
    """
    if len(text) > _TEXT_MOST:
        raise Faulty([Fault(("1",), f"This is longer than {_TEXT_MOST >> 10} KiB: send its file by 'az'.")])
    try:
        found, node = read_nodes(text)
    except HasAliases as error:
        raise Faulty([Fault(("1",), f"This {error}.")]) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Faulty([Fault((str(line),), f"This is no YAML: {error.problem or error.context}.")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Faulty([Fault(("1",), f"This is no YAML: {str(error)[:200]}.")]) from None
    if not isinstance(found, dict):
        raise Faulty([Fault(("1",), what)])
    lines: dict[Path, int] = {}
    _note(node, (), lines)
    return Written(_texts(found), lines)


def target_path(target: str) -> Path:
    """Of a field of the API's document, such as `properties.searchSpace.lr`: where it is in YAML, about."""
    parts = target.removeprefix("properties.").split(".")
    known = {"computeId": "compute", "codeId": "code", "environmentId": "environment", "jobType": "type"}
    return tuple(known.get(one, _WORD.sub("_", one).lower() if _is_field(one) else one) for one in parts)


def _is_field(name: str) -> bool:
    return name[:1].islower() and _WORD.search(name) is not None


def _note(node: Any, path: Path, lines: dict[Path, int]) -> None:
    if len(path) > _DEEPEST:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            lines[here] = key.start_mark.line + 1
            _note(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            lines[*path, str(at)] = value.start_mark.line + 1
            _note(value, (*path, str(at)), lines)


def _texts(found: Mapping[Any, Any]) -> Document:
    """With names that are texts, at any depth: YAML's may be numbers."""
    return {str(name): _value(value) for name, value in found.items()}


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return _texts(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list):
        return [_value(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def dump(document: Mapping[str, Any]) -> str:
    """In the order that it has."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)  # pyright: ignore


_Dumper.add_representer(str, _text)
