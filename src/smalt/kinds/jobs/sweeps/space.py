"""A search space: parameters, each with a distribution, as `searchSpace` has them on the wire.

    {"lr": ["loguniform", [-6, -1]], "depth": ["choice", [[2, 3, 4]]]}

A choice may be among objects, whose values are constants or distributions again: a parameter that is there only with
one of the choices. A point of the unit cube, with one coordinate for each distribution at any depth, is one trial's
values.

https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters#define-the-search-space
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist
from typing import Any, TypeGuard, cast

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.arm.validation import nearest

Values = Mapping[str, Any]  # of one trial, by parameter
PARAMETERS_MOST, CHOICES_MOST, DEPTH_MOST = 100, 10_000, 10
_LARGEST = 1e300  # of a value, and of the multiple of q that it is
_SIGMAS = 8  # no value of a normal distribution is drawn further from its mean
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}")  # as the client checks it
_STANDARD = NormalDist()
ARGUMENTS = {
    "choice": ("values",), "randint": ("upper",), "uniform": ("min_value", "max_value"),
    "loguniform": ("min_value", "max_value"), "quniform": ("min_value", "max_value", "q"),
    "qloguniform": ("min_value", "max_value", "q"), "normal": ("mu", "sigma"), "lognormal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"), "qlognormal": ("mu", "sigma", "q"),
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One of `options`: a literal, or a Group."""

    options: tuple[Any, ...]
    type: str = "choice"

    @property
    def dimensions(self) -> int:
        return 1 + sum(one.dimensions for one in self.options if isinstance(one, Group))

    @property
    def size(self) -> int | None:
        """How many values there are; None: without end."""
        sizes = [one.size if isinstance(one, Group) else 1 for one in self.options]
        return None if None in sizes else sum(cast("list[int]", sizes))

    def at(self, point: Sequence[float]) -> Any:
        chosen = min(int(point[0] * len(self.options)), len(self.options) - 1)
        before = 1 + sum(one.dimensions for one in self.options[:chosen] if isinstance(one, Group))
        option = self.options[chosen]
        return option.at(point[before : before + option.dimensions]) if isinstance(option, Group) else option

    def nth(self, number: int) -> Any:
        for option in self.options:
            size = cast("int", option.size) if isinstance(option, Group) else 1
            if number < size:
                return option.nth(number) if isinstance(option, Group) else option
            number -= size
        raise IndexError


@dataclass(frozen=True)
class Continuous:
    """Numbers of a distribution, rounded to multiples of `q` where there is one; `base`: of those that are powers."""

    type: str
    first: float  # the least, or the mean
    second: float  # the greatest, or the standard deviation
    q: float | None = None
    base: float = math.e
    whole: bool = False  # its numbers are written without a point
    dimensions = 1
    size = None

    def at(self, point: Sequence[float]) -> float:
        if self.type.endswith("uniform"):
            drawn = self.first + (self.second - self.first) * point[0]
        else:
            drawn = self.first + self.second * _STANDARD.inv_cdf(min(max(point[0], 1e-12), 1 - 1e-12))
        if "log" in self.type:
            drawn = self.base**drawn
        return drawn if self.q is None else self.multiple(self._nearest(drawn, self.q))

    def multiple(self, number: int) -> float:
        """`number` times q, without what binary fractions add to it."""
        found = Decimal(str(self.q)) * number
        return int(found) if self.whole else float(found)

    def multiples(self) -> tuple[int, int]:
        """The first and the last multiple of q between a uniform one's bounds; the last may be before the first."""
        assert self.q is not None
        low, high = (Decimal(str(bound)) / Decimal(str(self.q)) for bound in (self.first, self.second))
        return math.ceil(low), math.floor(high)

    def _nearest(self, drawn: float, q: float) -> int:
        number = round(drawn / q)
        if self.type != "quniform":
            return number
        first, last = self.multiples()
        return min(max(number, first), last) if first <= last else number


@dataclass(frozen=True)
class Whole:
    """A whole number below `upper`, from 0."""

    upper: int
    type: str = "randint"
    dimensions = 1

    @property
    def size(self) -> int:
        return self.upper

    def at(self, point: Sequence[float]) -> int:
        return min(int(point[0] * self.upper), self.upper - 1)

    def nth(self, number: int) -> int:
        return number


Parameter = Choice | Continuous | Whole


@dataclass(frozen=True)
class Group:
    """Parameters that are drawn together, beside constants."""

    parameters: Mapping[str, Any]  # a Parameter, or a constant

    @property
    def dimensions(self) -> int:
        return sum(one.dimensions for one in self.parameters.values() if is_parameter(one))

    @property
    def size(self) -> int | None:
        sizes = [one.size for one in self.parameters.values() if is_parameter(one)]
        return None if None in sizes else math.prod(cast("list[int]", sizes))

    def at(self, point: Sequence[float]) -> Document:
        """The values at a point of the unit cube, with `dimensions` coordinates in [0, 1)."""
        found: Document = {}
        for name, one in self.parameters.items():
            if is_parameter(one):
                found[name], point = one.at(point[: one.dimensions]), point[one.dimensions :]
            else:
                found[name] = one
        return found

    def nth(self, number: int) -> Document:
        """The combination of this number, below `size`. The last parameter changes with each."""
        found: Document = {}
        for name, one in reversed(list(self.parameters.items())):
            if is_parameter(one):
                assert not isinstance(one, Continuous) and one.size
                number, rest = divmod(number, one.size)
                found[name] = one.nth(rest)
            else:
                found[name] = one
        return {name: found[name] for name in self.parameters}

    def types(self) -> set[str]:
        """The distributions that occur, at any depth."""
        found: set[str] = set()
        for one in self.parameters.values():
            if is_parameter(one):
                found.add(one.type)
                inner = one.options if isinstance(one, Choice) else ()
                found |= {type_ for group in inner if isinstance(group, Group) for type_ in group.types()}
        return found


def is_parameter(value: Any) -> TypeGuard[Parameter]:
    return isinstance(value, Choice | Continuous | Whole)


def parse(given: Any, base: float = math.e, field: str = "properties.searchSpace") -> Group:
    """The search space. Raises ArmError(400), with one detail for each parameter that is wrong."""
    if not isinstance(given, dict) or not given:
        raise invalid(f'{field}: give at least one parameter, such as {{"lr": ["uniform", [0.01, 0.1]]}}.', field)
    space = cast("dict[str, Any]", given)
    if len(space) > PARAMETERS_MOST:
        raise invalid(f"{field}: {len(space)} parameters are given, and at most {PARAMETERS_MOST} can be.", field)
    errors: list[ArmError] = []
    found: dict[str, Any] = {}
    for name, one in space.items():
        path = f"{field}.{name[:100]}"
        try:
            if not _NAME.fullmatch(name):
                raise invalid(f"{path}: a parameter's name has letters, digits and '_' and begins with no digit.", path)
            found[name] = _parameter(one, base, path, 0)
        except ArmError as error:
            errors.append(error)
    if errors:
        raise together(errors)
    return Group(found)


def together(errors: Sequence[ArmError]) -> ArmError:
    """One error that tells them all."""
    joined = " ".join(one.message for one in errors[:10])
    return errors[0] if len(errors) == 1 else invalid(joined, errors[0].target, errors)


def _parameter(given: Any, base: float, path: str, depth: int) -> Parameter:
    known = sorted(ARGUMENTS)
    if not _is_distribution(given):
        raise invalid(f'{path}: a distribution is written ["TYPE", [ARGUMENTS]], with one of {", ".join(known)}.', path)
    type_, arguments = str(given[0]).lower(), given[1]
    names = ARGUMENTS.get(type_)
    if names is None:
        raise invalid(f"{path}: '{given[0]}' is no distribution.{nearest(type_, known)}", path)
    if not isinstance(arguments, list) or len(cast("list[Any]", arguments)) != len(names):
        raise invalid(f"{path}: {type_} has {len(names)} arguments: {', '.join(names)}.", path)
    if type_ == "choice":
        return _choice(arguments[0], base, path, depth)
    numbers = [_number(one, f"{path}.{name}") for one, name in zip(cast("list[Any]", arguments), names, strict=True)]
    if type_ == "randint":
        if numbers[0] != int(numbers[0]) or not 1 <= numbers[0] <= 2**53:
            raise invalid(f"{path}.upper: {numbers[0]:g} is no whole number from 1 on.", f"{path}.upper")
        return Whole(int(numbers[0]))
    return _continuous(type_, numbers, base, path)


def _continuous(type_: str, numbers: Sequence[float], base: float, path: str) -> Continuous:
    first, second, *rest = numbers
    if type_.endswith("uniform") and first >= second:
        raise invalid(f"{path}.min_value: {first:g} is not below max_value, {second:g}.", f"{path}.min_value")
    if type_.endswith("normal") and second <= 0:
        raise invalid(f"{path}.sigma: {second:g} is not above 0.", f"{path}.sigma")
    if rest and rest[0] <= 0:
        raise invalid(f"{path}.q: {rest[0]:g} is not above 0.", f"{path}.q")
    q = rest[0] if rest else None
    _check_range(type_, first, second, q, base, path)
    one = Continuous(type_, first, second, q, base, q is not None and q == int(q))
    if type_ == "quniform" and one.multiples()[0] > one.multiples()[1]:
        raise invalid(f"{path}.q: there is no multiple of {q:g} between {first:g} and {second:g}.", f"{path}.q")
    return one


def _check_range(type_: str, first: float, second: float, q: float | None, base: float, path: str) -> None:
    """Raises ArmError(400) where a value that may be drawn, or its multiple of q, is no number any more."""
    is_uniform = type_.endswith("uniform")
    bounds = (first, second) if is_uniform else (first - _SIGMAS * float(second), first + _SIGMAS * float(second))
    names = ("min_value", "max_value") if is_uniform else ("sigma", "sigma")
    most = math.log(_LARGEST)
    sizes = [_logarithm(bound, base if "log" in type_ else None) for bound in bounds]
    for name, bound, size in zip(names, bounds, sizes, strict=True):
        if size > most:
            what = f"{base:g} to the power of {bound:g}" if "log" in type_ else f"{bound:g}"
            reach = "" if is_uniform else f"values may be {_SIGMAS} sigma from mu, and "
            raise invalid(f"{path}.{name}: {reach}{what} is beyond {_LARGEST:g}.", f"{path}.{name}")
    if q is not None and (q > _LARGEST or max(sizes) - math.log(q) > most):
        raise invalid(
            f"{path}.q: {q:g} is too {'large' if q > _LARGEST else 'small'} for values such as these.", f"{path}.q"
        )


def _logarithm(bound: float, base: float | None) -> float:
    """Of how large a value is that is drawn at this bound, or is `base` to the power of it."""
    if base is not None:
        return bound * math.log(base)
    return math.log(abs(bound)) if bound else -math.inf


def _choice(given: Any, base: float, path: str, depth: int) -> Choice:
    if not isinstance(given, list) or not given:
        raise invalid(f"{path}.values: give at least one value to choose from.", f"{path}.values")
    values = cast("list[Any]", given)
    if len(values) > CHOICES_MOST:
        raise invalid(
            f"{path}.values: {len(values)} values are given, at most {CHOICES_MOST} can be.", f"{path}.values"
        )
    if depth >= DEPTH_MOST:
        raise invalid(f"{path}.values: choices are nested more than {DEPTH_MOST} deep.", f"{path}.values")
    return Choice(tuple(_option(one, base, f"{path}.values.{number}", depth) for number, one in enumerate(values)))


def _option(given: Any, base: float, path: str, depth: int) -> Any:
    if isinstance(given, dict):
        inner = cast("dict[str, Any]", given)
        if len(inner) > PARAMETERS_MOST:
            raise invalid(f"{path}: {len(inner)} parameters are given, and at most {PARAMETERS_MOST} can be.", path)
        return Group(
            {
                name: _parameter(one, base, f"{path}.{name[:100]}", depth + 1) if _is_distribution(one) else one
                for name, one in inner.items()
            }
        )
    if isinstance(given, list) or given is None:
        raise invalid(f"{path}: a value to choose is a text, a number, a truth value or an object.", path)
    if isinstance(given, float) and not math.isfinite(given):
        raise invalid(f"{path}: {given} is no number.", path)
    return given


def _is_distribution(given: Any) -> bool:
    """A list of a word and a list. A constant of another form is one."""
    return isinstance(given, list) and len(cast("list[Any]", given)) == 2 and isinstance(given[0], str)


def _number(given: Any, path: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < math.inf:
        raise invalid(f"{path}: {str(given)[:80]!r} is no number.", path)
    if abs(given) > sys.float_info.max:
        raise invalid(f"{path}: the number is beyond {sys.float_info.max:g}.", path)
    return given
