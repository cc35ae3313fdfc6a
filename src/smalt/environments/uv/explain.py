"""What uv's explanations mean: which package is in the way, and how to say it in one or two lines.

uv explains a failed resolution in sentences ("Because X==1 has no usable wheels and you require X==1, …"). They are
made for people and may change, so what is not recognised stays a conflict, told in uv's own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from smalt.environments.uv.process import without_secrets

_NAME = r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?"
_MISSING = re.compile(rf"{_NAME} was not found in the (?:package registry|provided package locations)")
_NOT_CACHED = re.compile(
    rf"{_NAME} was not found in the cache|network was disabled|[Nn]etwork connectivity is disabled"
)
_NO_WHEEL = re.compile(
    rf"{_NAME}(?:[=<>!~][^ ]*)? (?:has|have) no (?:usable )?wheels|"
    rf"{_NAME}(?:[=<>!~][^ ]*)? has no source distribution|"
    rf"{_NAME}(?:[=<>!~][^ ]*)? (?:was|were|is|are) (?:yanked|unusable)"
)
_NO_VERSION = re.compile(
    rf"there (?:is|are) no versions? of {_NAME}|[Oo]nly {_NAME}[^ ]* (?:is|are) available and you require"
)
_SOURCE = re.compile(
    rf"(?:Failed to build|Failed to download and build|Failed to prepare|Failed to parse metadata)[^`]*`{_NAME}"
)
_UNREACHABLE = re.compile(
    r"Failed to fetch|error sending request|dns error|tcp connect error|Connection refused|timed out|"
    r"Request failed after"
)
_REFUSED = re.compile(r"lack of valid authentication|401 Unauthorized|403 Forbidden")
_UNSOLVED = "No solution found when resolving"
_REQUIRED = re.compile(r"you require (.+?)(?=, we can conclude|, and |$| and [A-Za-z0-9._-]+\S* (?:depends|has))")


class Obstacle(StrEnum):
    """What stands in the way of a resolution or an installation."""

    MISSING = "missing"  # no such package
    NO_VERSION = "no-version"  # the package is there, the version is not
    NO_WHEEL = "no-wheel"  # nothing built for this interpreter and machine
    CONFLICT = "conflict"  # two of the requirements exclude each other
    SOURCE = "source"  # building from source failed
    UNREACHABLE = "unreachable"  # no network, or the index does not answer
    OTHER = "other"


@dataclass(frozen=True)
class Problem:
    """`package` is the one in the way (canonical, "" if none is named); `text` is uv's explanation in one line."""

    obstacle: Obstacle
    package: str
    text: str
    refused: bool = False  # an index asked for other credentials

    def mentions(self, names: Iterable[str]) -> list[str]:
        """Those of `names` (canonical) that the explanation speaks of, in order of appearance."""
        places = {name: re.search(rf"(?<![\w.-]){_loosely(name)}(?![\w-])", self.text, re.IGNORECASE) for name in names}
        starts = {name: place.start() for name, place in places.items() if place}
        return sorted(starts, key=lambda name: starts[name])

    @property
    def required(self) -> list[str]:
        """The requirements that the explanation says were asked for directly, e.g. ["numpy==1.26.4", "numpy>=2"]."""
        found = [one.strip() for match in _REQUIRED.findall(self.text) for one in re.split(r" and |, |\. ", match)]
        named = [one for one in found if re.match(rf"^{_NAME}", one) and " " not in one.partition(" @ ")[0]]
        return list(dict.fromkeys(named))


def read_problem(output: str) -> Problem:
    """The first obstacle in uv's output that is recognised."""
    text, refused = _one_line(output), bool(_REFUSED.search(output))
    for obstacle, pattern in (
        (Obstacle.SOURCE, _SOURCE),
        (Obstacle.MISSING, _MISSING),
        (Obstacle.UNREACHABLE, _NOT_CACHED),
        (Obstacle.NO_WHEEL, _NO_WHEEL),
        (Obstacle.NO_VERSION, _NO_VERSION),
    ):
        match = pattern.search(text)
        if match:
            return Problem(obstacle, _canonical(next((one for one in match.groups() if one), "")), text, refused)
    if _UNREACHABLE.search(text):
        return Problem(Obstacle.UNREACHABLE, "", text)
    return Problem(Obstacle.CONFLICT if _UNSOLVED in text else Obstacle.OTHER, "", text)


def cause(problem: Problem, python: str) -> str:
    """For people: what cannot be had and why, in one or two lines, naming the package."""
    package = problem.package
    asked = next((one for one in problem.required if _canonical(re.split(r"[\[=<>!~ ]", one)[0]) == package), package)
    if problem.obstacle is Obstacle.MISSING and problem.refused:
        return (
            f"'{package}' cannot be had: an index that the environment names refused the request (401 or 403)."
            " A connection of the workspace, category PythonFeed, with its address as target,"
            f" gives the credentials.{_chain(problem)}"
        )
    if problem.obstacle is Obstacle.MISSING:
        return (
            f"No version of '{package}' can be had: not found in the package index."
            f"{_chain(problem)} If only conda has it, it cannot be used here."
        )
    if problem.obstacle is Obstacle.NO_VERSION:
        return f"No version of '{package}' fits '{asked}': the package index has none.{_chain(problem)}"
    if problem.obstacle is Obstacle.NO_WHEEL:
        return f"'{asked}' has no wheel for Python {python} on this machine.{_chain(problem)}"
    if problem.obstacle is Obstacle.SOURCE:
        return f"'{package}' has no wheel for Python {python} and could not be built from source: {_tail(problem.text)}"
    if problem.obstacle is Obstacle.UNREACHABLE:
        what = f"'{package}'" if package else "a package"
        return f"The package index cannot be reached, and {what} is not in the cache: {_tail(problem.text)}"
    if problem.obstacle is Obstacle.CONFLICT:
        sides = ", ".join(problem.required)
        return f"These cannot be installed together: {sides or 'see below'}.\n{_shortened(problem.text)}"
    return _shortened(problem.text) or "uv failed without a word."


def _chain(problem: Problem) -> str:
    others = [one for one in problem.required if _canonical(re.split(r"[\[=<>!~ ]", one)[0]) != problem.package]
    return f" It is needed by {', '.join(others[:3])}." if others else ""


def _one_line(output: str) -> str:
    """Without hints: they repeat, and name packages that are not at fault."""
    kept: list[str] = []
    for line in without_secrets(output).splitlines():
        if re.match(r"\s*(?:hint:|warning:)", line):
            if "network was disabled" in line:
                kept.append(line)
            continue
        kept.append(line)
    text = re.sub(r"\s+", " ", " ".join(kept)).strip()
    return re.sub(r"[╰─▶├│×]+\s*", "", text)


def _shortened(text: str, limit: int = 600) -> str:
    text = re.sub(r"^(?:error: )?No solution found when resolving dependencies:?\s*(?:cause:\s*)?", "", text)
    return text if len(text) <= limit else text[: limit - 2].rsplit(" ", 1)[0] + " …"


def _tail(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else "… " + text[-limit:].split(" ", 1)[-1]


def _loosely(name: str) -> str:
    return re.escape(name).replace(r"\-", "[-_.]")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).strip("-").lower()
