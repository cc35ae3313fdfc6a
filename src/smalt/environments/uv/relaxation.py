"""How a pin is given way, one step at a time: always to the nearest version that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version


def relaxations(requirement: Requirement, nearest: Callable[[str], str | None]) -> Iterator[str]:
    """Specifiers, each wider than the last; the last is "" (any version).

    `nearest("name>=1.2")` answers with the lowest version of these that this machine can install, or None.
    """
    asked = anchor(requirement.specifier)
    if asked is not None:
        if len(asked.release) > 2 and _is_exact(requirement.specifier):
            yield f">={asked.public},=={asked.major}.{asked.minor}.*"
        above = nearest(f"{requirement.name}>={asked.public}")
        if above:
            found = Version(above)
            yield f">={found.public},=={found.major}.{found.minor}.*"
        yield f">={asked.public}"
        yield f"<{asked.public}"
    yield ""


def anchor(specifier: SpecifierSet) -> Version | None:
    """The version that a user had in mind: of a pin the version, of a range its lower end, else its upper."""
    by_operator: dict[str, Version] = {}
    for one in specifier:
        try:
            by_operator.setdefault(one.operator, Version(one.version.removesuffix(".*")))
        except InvalidVersion:
            continue
    for operator in ("===", "==", "~=", ">=", ">", "<", "<="):
        if operator in by_operator:
            return by_operator[operator]
    return None


def _is_exact(specifier: SpecifierSet) -> bool:
    return any(one.operator in ("==", "===") and not one.version.endswith(".*") for one in specifier)
