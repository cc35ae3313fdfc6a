"""From what was asked for to exact versions: wheels first, the user's pins as they are, giving way only where needed.

1. All pins as written, wheels only. Most specifications end here.
2. A package without a wheel: where PyPI has only pure Python of it, its source is built; else its pin (or that of the
   package which needs it) gives way to the nearest version with a wheel.
3. A conflict: pip's word stands against conda's, and where the interpreter is another than asked for, pins give way one
   by one; a conflict that is only the user's own is an error that names both sides.
Everything that gave way is in `Resolution.notes`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from smalt.environments.uv.bounds import Bound, missing_bounds
from smalt.environments.uv.explain import Obstacle, Problem, cause, read_problem
from smalt.environments.uv.locks import Resolution, foreign_line, versions
from smalt.environments.uv.process import Ran, Uv, say
from smalt.environments.uv.relaxation import relaxations

_ROUNDS = 5
_ORIGINS = ("seeds", "conda", "pip", "serving")
_YIELDING = ("seeds", "conda", "pip")  # who gives way first; what the inference server needs never does


class Unresolvable(Exception):
    """Nothing fits; the message is the cause, for people."""


@dataclass
class Asked:
    """One requirement: `specifier` is what is tried now, `original` what was written."""

    origin: str  # seeds, conda, pip, serving
    original: str
    requirement: Requirement | None  # None for an address
    specifier: str = ""
    steps: Iterator[str] | None = None
    taken: int = 0
    reason: str = ""

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name) if self.requirement else ""

    @property
    def line(self) -> str:
        if self.requirement is None or not self.taken:
            return self.original
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        marker = f" ; {self.requirement.marker}" if self.requirement.marker else ""
        return f"{self.requirement.name}{extras}{self.specifier}{marker}"

    @property
    def can_yield(self) -> bool:
        pinned = self.requirement is not None and bool(self.requirement.specifier)
        return pinned and self.origin in _YIELDING and (not self.taken or bool(self.specifier))


@dataclass
class _State:
    asked: list[Asked]
    sources: set[str] = field(default_factory=set[str])
    limits: list[Bound] = field(default_factory=list[Bound])


class Resolver:
    """One definition, resolved for one interpreter. `offline` resolves from the cache alone.

    `builder` is the uv that may run the code of source distributions, which tells what they need; `uv` runs none.
    """

    def __init__(
        self,
        uv: Uv,
        definition: Mapping[str, Any],
        index_options: list[str],
        preferred: Path | None = None,
        builder: Uv | None = None,
    ) -> None:
        self._uv, self._builder = uv, builder or uv
        self._python = str(definition["python"])
        self._interpreter = str(definition["interpreter"])
        self._exact = bool(definition["exact"])
        self._options = [*definition["options"]]
        self._unwanted = without_wheels(self._options)
        written = [*self._options, *(text for origin in _ORIGINS for text in definition[origin])]
        self._allows_code = any("--no-binary" in one for one in written)  # wherever in a line it stands
        self._ran_code = False
        self._index_options = index_options
        self._preferred = preferred
        self._offline = False
        self._refused: list[Bound] = []
        self._state = _State([_asked(origin, text) for origin in _ORIGINS for text in definition[origin]])

    def resolve(self) -> Resolution:
        """Raises Unresolvable."""
        text = self._until_solved()
        text = self._bounded(text)
        text = self._restored(text)
        text = self._with_wheels(text)
        if self._ran_code and (foreign := foreign_line(text, self._addresses())):
            raise Unresolvable(f"What a package's build made of the versions cannot be used: '{foreign}'.")
        sources = self._state.sources | (self._unwanted & versions(text).keys())
        return Resolution(text, tuple(sorted(sources)), tuple(self._notes(text)))

    def avoid(self, package: str) -> None:
        """`package` could not be built from its source: from now on only with a wheel.

        Raises Unresolvable if it must be.
        """
        culprit = self._find(package)
        if package not in self._state.sources or culprit is None or not culprit.can_yield:
            raise Unresolvable(
                f"'{package}' has no wheel for Python {self._python} and could not be built from source."
            )
        self._state.sources.discard(package)
        self._yield(culprit, "could not be built from source")

    def _until_solved(self) -> str:
        for _ in range(8 * len(self._state.asked) + 20):
            ran = self._compile(self._state)
            if ran.code == 0:
                return ran.answer
            self._give_way(read_problem(ran.output))
        raise Unresolvable("The requirements were relaxed many times and still do not fit together.")

    def _give_way(self, problem: Problem) -> None:
        if problem.obstacle is Obstacle.UNREACHABLE and not self._offline:
            say("The package index cannot be reached; what is in the cache has to do.")
            self._offline = True
            return
        culprit = self._find(problem.package)
        if problem.obstacle is Obstacle.NO_WHEEL:
            self._without_wheel(problem)
        elif problem.obstacle is Obstacle.NO_VERSION and culprit and not culprit.taken:
            if culprit.origin not in _YIELDING[:2] or not culprit.can_yield:
                raise Unresolvable(cause(problem, self._python))
            self._yield(culprit, "PyPI has no such version")
        elif problem.obstacle is Obstacle.SOURCE and culprit and culprit.can_yield:
            self._state.sources.discard(culprit.name)
            self._yield(culprit, "could not be built from source")
        elif problem.obstacle in (Obstacle.CONFLICT, Obstacle.NO_VERSION):
            self._in_conflict(problem)
        else:
            raise Unresolvable(cause(problem, self._python))

    def _without_wheel(self, problem: Problem) -> None:
        package = problem.package
        if package in self._state.sources:
            raise Unresolvable(cause(problem, self._python))
        if not self._has_native_wheels(package):
            say(f"'{package}' has no wheel and is pure Python by all that can be seen: its source is built.")
            self._state.sources.add(package)
            return
        reason = f"no wheel for Python {self._python}"
        culprit = self._find(package)
        if culprit is not None and culprit.can_yield:
            self._yield(culprit, reason)
            return
        for name in problem.mentions(one.name for one in self._state.asked if one.can_yield):
            self._yield(self._must_find(name), f"it needs '{package}', for which there is {reason}")
            return
        self._state.sources.add(package)

    def _in_conflict(self, problem: Problem) -> None:
        asked = self._state.asked
        mentioned = problem.mentions(one.name for one in asked if one.name)
        serving = [one.original for one in asked if one.origin == "serving" and one.name in mentioned]
        relaxed = not self._exact or any(one.taken for one in asked)
        origins = _YIELDING if relaxed else _YIELDING[:2]
        ready = [one for one in asked if one.name in mentioned and one.can_yield and one.origin in origins]
        if serving and not [one for one in ready if one.origin == "seeds"]:
            users = ", ".join(one.original for one in asked if one.name in mentioned and one.origin != "serving")
            raise Unresolvable(
                f"The inference server needs {', '.join(serving)}, which cannot be installed together with"
                f" {users or 'what the environment asks for'}.\n{cause(problem, self._python)}"
            )
        if not ready:
            raise Unresolvable(cause(problem, self._python))
        first = min(ready, key=lambda one: (one.taken, _YIELDING.index(one.origin), mentioned.index(one.name)))
        others = [one for one in problem.required if not one.lower().startswith(first.name)]
        self._yield(first, f"it conflicts with {', '.join(others[:2]) or 'what other packages need'}")

    def _yield(self, asked: Asked, reason: str) -> None:
        assert asked.requirement is not None
        if asked.steps is None:
            asked.steps = relaxations(asked.requirement, self._nearest)
        before = asked.line
        written = asked.specifier
        asked.specifier = next((one for one in asked.steps if one != written), "")
        asked.taken += 1
        asked.reason = asked.reason or reason
        say(f"{before} gives way to {asked.line}: {reason}.")

    def _bounded(self, text: str) -> str:
        """Add the bounds that conda's metadata would have had; those that do not resolve are left out.

        Where the interpreter is another than asked for, what cannot run on it makes the pins give way that need it.
        """
        for _ in range(_ROUNDS):
            missing = missing_bounds(versions(text), self._python)
            missing = [one for one in missing if one not in self._refused]
            if not missing:
                break
            for bound in missing:
                text = self._with(bound, text)
        return text

    def _with(self, bound: Bound, text: str) -> str:
        tried = _State(self._state.asked, self._state.sources, [*self._state.limits, bound])
        ran = self._compile(tried)
        if ran.code == 0:
            self._state = tried
            return ran.answer
        if bound.python and not self._exact:
            self._state = tried
            return self._until_solved()
        self._refused.append(bound)
        return text

    def _restored(self, text: str) -> str:
        """Where several pins gave way in a conflict, perhaps one was enough: try each as it was written."""
        conflicting = [one for one in self._state.asked if one.taken and "conflicts" in one.reason]
        if len(conflicting) < 2:
            return text
        for one in conflicting:
            kept = one.taken
            one.taken = 0
            ran = self._compile(self._state)
            if ran.code == 0:
                text = ran.answer
                say(f"{one.original} can stay as it was written.")
            else:
                one.taken = kept
        return text

    def _with_wheels(self, text: str) -> str:
        """A source that was needed for versions which have given way since is needed no more."""
        for package in sorted(self._state.sources):
            tried = _State(self._state.asked, self._state.sources - {package}, self._state.limits)
            if package not in versions(text):
                self._state = tried
            elif any(one.taken for one in self._state.asked) and (ran := self._compile(tried)).code == 0:
                self._state, text = tried, ran.answer
        return text

    def _notes(self, text: str) -> Iterator[str]:
        found = versions(text)
        for one in self._state.asked:
            if one.taken and one.origin != "seeds":
                yield f"{one.original} was relaxed to {one.name}=={found.get(one.name, '?')}: {one.reason}."
        for bound in self._state.limits:
            yield f"{bound.limit} was added: {bound.package} before {bound.below} {bound.reason}."
        for package in sorted(self._state.sources):
            yield f"{package}=={found[package]} was built from its source: it has no wheel."

    def _compile(self, state: _State) -> Ran:
        lines = [*(one.line for one in state.asked), *(one.limit for one in state.limits)]
        uv = self._builder if state.sources or self._allows_code else self._uv
        with tempfile.TemporaryDirectory(prefix="smalt-resolve-", dir=uv.scratch) as scratch:
            output = Path(scratch) / "lock.txt"
            if self._preferred is not None and self._preferred.exists():
                output.write_text(self._preferred.read_text())
            arguments = ["--generate-hashes", "--no-annotate", "--no-header", "--output-file", str(output)]
            for package in sorted(state.sources):
                arguments += ["--no-binary", package]
            return self._run([*arguments, "--only-binary", ":all:"], "\n".join(lines) + "\n", uv)

    def _nearest(self, requirement: str) -> str | None:
        """The lowest version with a wheel for this interpreter, without looking at what it needs."""
        ran = self._run(
            ["--only-binary", ":all:", "--no-deps", "--resolution", "lowest-direct", "--no-header", "-q"], requirement
        )
        return versions(ran.answer).get(canonicalize_name(Requirement(requirement).name)) if ran.code == 0 else None

    def _has_native_wheels(self, package: str) -> bool:
        """Whether the newest wheel of a package holds machine code: then its source needs a compiler, and time."""
        arguments = ["--only-binary", ":all:", "--no-deps", "--format", "pylock.toml", "--no-header", "-q"]
        ran = self._run(arguments, package)
        wheels = re.findall(r"""[^/"']+\.whl(?=["'?#])""", ran.answer)
        return ran.code == 0 and bool(wheels) and not any(one.endswith("-none-any.whl") for one in wheels)

    def _run(self, arguments: list[str], requirements: str, uv: Uv | None = None) -> Ran:
        uv = uv or (self._builder if self._allows_code else self._uv)
        offline = ["--offline"] if self._offline else []
        text = "\n".join([*self._options, requirements])
        base = ["pip", "compile", "-", "--python", self._interpreter, *self._index_options, *offline]
        self._ran_code = self._ran_code or uv is not self._uv
        return uv.run([*base, *arguments], text)

    def _addresses(self) -> set[str]:
        """Those that were asked for, as they stand in a lock."""
        asked = [one.requirement.url or "" if one.requirement else one.original for one in self._state.asked]
        return {address for address in asked if address}

    def _find(self, name: str) -> Asked | None:
        """The requirement of this name that pins most."""
        found = [one for one in self._state.asked if name and one.name == name]
        return max(found, key=lambda one: one.can_yield) if found else None

    def _must_find(self, name: str) -> Asked:
        found = self._find(name)
        assert found is not None
        return found


def without_wheels(options: Iterable[str]) -> frozenset[str]:
    """The packages whose wheels the user does not want: what uv is given with `--no-binary`."""
    given = [one.removeprefix("--no-binary ") for one in options if one.startswith("--no-binary ")]
    return frozenset(canonicalize_name(name.strip()) for one in given for name in one.split(",") if ":" not in name)


def _asked(origin: str, text: str) -> Asked:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return Asked(origin, text, None)
    return Asked(origin, text, requirement, str(requirement.specifier))
