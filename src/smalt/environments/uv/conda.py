"""Conda's environment files, read as what they ask of Python: an interpreter, PyPI packages, pip's own list.

Conda's way to write versions (https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html) is
turned into PEP 440: `=1.5` means `==1.5.*`, a build string is dropped, and so is the channel. `variables` are what
conda would set when the environment is activated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from smalt.arm.errors import ArmError, invalid
from smalt.arm.yaml_text import HasAliases, read_yaml
from smalt.environments.uv.names import brought, conda_only, pypi_name
from smalt.environments.uv.requirements import PipList, parse_pip

MAX_BYTES = 64 * 1024
TARGET = "condaFile"
_SPEC = re.compile(r"^(?:[^\s:=<>!~]+::?)?(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)(?P<extras>\[[^\]]*\])?\s*(?P<rest>.*)$")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(r"^v?\d+(?:\.\d+)*(?:[._-]?(?:a|b|c|rc|alpha|beta|dev|pre|post)[._-]?\d*)*$", re.IGNORECASE)


@dataclass
class CondaFile:
    """`python` is a PEP 440 specifier or ""; `packages` are requirements by PyPI's names; `variables` for what runs."""

    python: str = ""
    packages: list[str] = field(default_factory=list[str])
    pip: PipList = field(default_factory=PipList)
    variables: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    errors: list[ArmError] = field(default_factory=list[ArmError])


def parse_conda(text: str) -> CondaFile:
    """Read the file; raises ArmError(400) with every fault among its details, each naming the entry."""
    document = _document(text)
    found = CondaFile()
    dependencies = document.get("dependencies", [])
    if dependencies is None:
        dependencies = []
    if not isinstance(dependencies, list):
        found.errors.append(_fault("dependencies", f"must be a list, but is {_kind(dependencies)}"))
        dependencies = []
    channels = document.get("channels") or []
    if not isinstance(channels, list) or not all(isinstance(one, str) for one in channels):
        found.errors.append(_fault("channels", "must be a list of names"))
    for index, entry in enumerate(dependencies):
        _entry(entry, f"dependencies[{index}]", found)
    _variables(document.get("variables"), found)
    if found.errors:
        raise collected(found.errors)
    return found


def collected(errors: list[ArmError]) -> ArmError:
    """One error of many: the first speaks, all stand in the details."""
    if len(errors) == 1:
        return errors[0]
    return invalid(" ".join(one.message for one in errors), errors[0].target, errors)


def version_specifier(text: str) -> str | None:
    """A conda version, e.g. `=1.5.*=*_0` or `>=1.2,<2`, as PEP 440; None where it cannot be said there."""
    text = text.strip()
    if not text or text == "*":
        return ""
    if "|" in text:
        return _joined(re.sub(r"\s+", "", text))
    if re.match(r"^=[^=]", text):
        version, _, build = text[1:].partition("=")
        return _alone(version.strip(), fuzzy=not build or "*" in version)
    if not re.match(r"^[<>=!~]", text):
        version = re.split(r"[\s=]", text, maxsplit=1)[0]
        return _alone(version, fuzzy=False) if "," not in text else _joined(text)
    return _joined(re.sub(r"\s+", "", text))


def _document(text: str) -> dict[str, Any]:
    if len(text.encode()) > MAX_BYTES:
        raise _fault("", f"is larger than {MAX_BYTES // 1024} kB")
    try:
        document = read_yaml(text)
    except HasAliases as error:
        raise _fault("", str(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise _fault("", f"is not YAML{where}: {getattr(error, 'problem', None) or 'it cannot be read'}") from error
    except (ValueError, RecursionError) as error:  # a date that is none; nesting without end
        raise _fault("", f"is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise _fault("", f"must be a mapping with 'dependencies', but is {_kind(document)}")
    return document


def _entry(entry: Any, where: str, found: CondaFile) -> None:
    if isinstance(entry, str):
        _package(entry.strip(), where, found)
    elif isinstance(entry, dict) and set(entry) == {"pip"}:
        listed = entry["pip"] if entry["pip"] is not None else []
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            found.errors.append(_fault(f"{where}.pip", "must be a list of requirements (strings)"))
            return
        pip = parse_pip(listed, f"{TARGET}.{where}.pip")
        found.pip.requirements += pip.requirements
        found.pip.options += pip.options
        found.errors += pip.errors
    else:
        found.errors.append(_fault(where, f"must be a package or {{pip: [...]}}, but is {_kind(entry)}"))


def _variables(given: Any, found: CondaFile) -> None:
    """Texts and numbers, as conda writes them; a name that no shell could set is refused."""
    if given is None:
        return
    if not isinstance(given, dict):
        found.errors.append(_fault("variables", f"must be a mapping of names to values, but is {_kind(given)}"))
        return
    for name, value in given.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            found.errors.append(_fault("variables", f"'{str(name)[:80]}' is not the name of an environment variable"))
        elif not isinstance(value, str | int | float) or "\0" in str(value):
            found.errors.append(_fault(f"variables.{name}", f"must be a text or a number, but is {_kind(value)}"))
        else:
            found.variables[name] = str(value)


def _package(spec: str, where: str, found: CondaFile) -> None:
    match = _SPEC.match(spec)
    if not match:
        found.errors.append(_fault(where, f"'{spec}' is not a conda package"))
        return
    name, rest, extras = match["name"].lower(), match["rest"], match["extras"] or ""
    bracket = re.search(r"version\s*=\s*['\"]?([^'\"\]]+)", extras)
    if "=" in extras:  # conda's own bracket: numpy[version='>=1.2', build=...]
        rest, extras = bracket.group(1) if bracket else "", ""
    if brought(name):
        found.notes.append(f"'{name}' is left out: the machine or the wheels themselves bring it.")
        return
    if conda_only(name):
        found.errors.append(
            _fault(where, f"'{name}' is a package that only conda has; this platform builds environments from PyPI")
        )
        return
    specifier = version_specifier(rest)
    if specifier is None:
        found.errors.append(_fault(where, f"the version of '{spec}' cannot be read"))
    elif name == "python":
        found.python = ",".join(one for one in (found.python, specifier) if one)
    else:
        found.packages.append(f"{pypi_name(name)}{extras}{specifier}")


def _alone(version: str, fuzzy: bool) -> str | None:
    """A version without an operator: `1.5*`, `1.5.*`, `1.5`."""
    star = version.endswith("*")
    bare = version.rstrip("*").rstrip(".")
    if not _PLAIN.match(bare):
        return None
    return _checked(
        f"=={bare}.*" if (fuzzy or star) and bare[-1:].isdigit() and bare.replace(".", "").isdigit() else f"=={bare}"
    )


def _joined(text: str) -> str | None:
    """Conditions with `,` (and). Of `|` (or), PEP 440 can say only one: the last, which is the newest by habit."""
    parts: list[str] = []
    for part in text.split("|")[-1].split(","):
        match = re.match(r"^(~=|===|==|!=|>=|<=|=|<|>)?(.+)$", part.strip())
        if not match:
            return None
        operator, version = match.group(1), match.group(2).split("=")[0]
        if operator in (None, "="):
            parts.append(_alone(version, fuzzy=operator == "=") or "?")
        elif operator in ("==", "!=", "==="):
            parts.append(operator + version)
        else:
            parts.append(operator + version.rstrip("*").rstrip("."))
    return _checked(",".join(parts))


def _checked(specifier: str) -> str | None:
    try:
        return ",".join(sorted(str(one) for one in SpecifierSet(specifier)))
    except InvalidSpecifier:
        return None


def _fault(where: str, message: str) -> ArmError:
    target = f"{TARGET}.{where}" if where else TARGET
    return invalid(f"The conda file{f', {where},' if where else ''} {message}.", target)


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", type(None): "empty", bool: "a truth value"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "something else")
