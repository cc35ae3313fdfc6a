"""pyproject.toml names the exact version of everything that is installed for Smalt and its tests, and no host."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
PINS = [Requirement(one) for one in PROJECT["tool"]["uv"]["constraint-dependencies"]]
BUILD_PINS = [Requirement(one) for one in PROJECT["tool"]["uv"]["build-constraint-dependencies"]]


def needed() -> Iterator[str]:
    """The names of all that the project and its groups need here, one thing after the other, each once."""
    pending = [Requirement(one) for one in [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]]
    seen: set[tuple[str, str]] = set()
    while pending:
        one = pending.pop()
        for extra in ("", *one.extras):
            name = canonicalize_name(one.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if not extra:
                yield name
            for line in distribution(one.name).requires or []:
                needs = Requirement(line)
                if needs.marker is None or needs.marker.evaluate({"extra": extra}):
                    pending.append(needs)


def pin(name: str) -> Requirement | None:
    return next(
        (one for one in PINS if canonicalize_name(one.name) == name and (not one.marker or one.marker.evaluate())), None
    )


def test_everything_that_is_needed_here_is_pinned_to_what_is_installed() -> None:
    found = set(needed())
    assert len(found) > 100
    wrong = {name: str(pin(name)) for name in found if str(pin(name)) == "None" or not exact(name)}
    assert not wrong, f"run scripts/pin: {wrong}"


def exact(name: str) -> bool:
    one = pin(name)
    return one is not None and distribution(name).version in one.specifier


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_has_one_version_of_each(version: str) -> None:
    here = {"python_version": version, "python_full_version": f"{version}.5"}
    names = [canonicalize_name(one.name) for one in PINS if one.marker is None or one.marker.evaluate(here)]
    assert sorted(names) == sorted(set(names))
    assert {"numpy", "mlflow", "azure-ai-ml", "pytest"} <= set(names)


@pytest.mark.parametrize("one", [*PINS, *BUILD_PINS], ids=lambda one: one.name)
def test_a_pin_is_one_version_and_names_no_host(one: Requirement) -> None:
    assert one.url is None
    assert re.fullmatch(r"==[\w.+!]+", str(one.specifier))


def test_what_builds_the_package_is_pinned() -> None:
    names = {one.name for one in BUILD_PINS}
    assert set(PROJECT["build-system"]["requires"]) <= names


@pytest.mark.parametrize(
    "path", [*(Path(__file__).parents[1] / "live").glob("constraints-*.txt")], ids=lambda path: path.stem
)
def test_clients_of_the_tests_are_pinned_with_all_that_they_need(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    found = {canonicalize_name(one.name): one for one in map(Requirement, lines)}
    assert len(found) > 100
    assert all(one.url is None and re.fullmatch(r"==[\w.+!]+", str(one.specifier)) for one in found.values())
    client, _, version = path.stem.removeprefix("constraints-").rpartition("-")
    assert str(found[client].specifier) == f"=={version}"
