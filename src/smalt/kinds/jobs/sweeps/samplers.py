"""Which values a sweep tries. A trial's values follow from the space, the seed and its number, and for a Bayesian sweep
from the trials before it: who asks again, after a restart, gets the same.

Grid and random search are a few lines of Python. TPE is Optuna's and Sobol's sequence SciPy's: both are imported where
a sweep asks for them, because they cost up to two seconds and a hundred megabytes.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from smalt.kinds.jobs.sweeps.space import Choice, Continuous, Group, Values

CONTINUED = frozenset({"choice", "uniform", "quniform"})  # what Bayesian search is for
FIRST_LEAST, FIRST_MOST = 4, 10  # trials that Bayesian search draws at random before it learns
_SOBOL_MOST = 21_201  # dimensions for which the sequence is known
COUNTED_MOST = 2**53  # combinations; nobody counts more


@dataclass(frozen=True)
class Tried:
    """A trial before: its values, and its score; None: it has none yet, or ended without. `open`: it has not ended."""

    values: Values
    score: float | None
    open: bool = False


class Sampler(Protocol):
    def sample(self, number: int, before: Sequence[Tried]) -> Values:
        """The values of the trial of this number, from 0. `before` are those with lower ones, if `learns`."""
        ...

    @property
    def learns(self) -> bool: ...


@dataclass(frozen=True)
class Grid:
    """Every combination once, in order."""

    space: Group
    learns: bool = False

    def sample(self, number: int, before: Sequence[Tried]) -> Values:
        return self.space.nth(number)


@dataclass(frozen=True)
class Random:
    """Independent draws; of a space that has an end each combination once."""

    space: Group
    seed: int
    total: int
    learns: bool = False

    def sample(self, number: int, before: Sequence[Tried]) -> Values:
        if size := _size(self.space):
            return self.space.nth(random.Random(self.seed).sample(range(size), min(size, self.total))[number])
        generator = random.Random(f"{self.seed}/{number}")
        return self.space.at([generator.random() for _ in range(self.space.dimensions)])


@dataclass(frozen=True)
class Sobol:
    """Points of Sobol's sequence, which cover the space evenly."""

    space: Group
    seed: int
    learns: bool = False

    def sample(self, number: int, before: Sequence[Tried]) -> Values:
        from scipy.stats import qmc  # pyright: ignore[reportMissingTypeStubs]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wants powers of two at once
            sequence: Any = qmc.Sobol(self.space.dimensions, scramble=True, rng=self.seed)
            if number:
                sequence.fast_forward(number)
            point: Any = sequence.random(1)[0]
        return self.space.at([float(one) for one in point])


@dataclass(frozen=True)
class Bayesian:
    """Tree-structured Parzen estimators. A space that has an end is tried at each combination once at most."""

    space: Group
    seed: int
    total: int
    maximize: bool
    learns: bool = True

    def sample(self, number: int, before: Sequence[Tried]) -> Values:
        generator = random.Random(f"{self.seed}/{number}")
        if number < min(FIRST_MOST, max(FIRST_LEAST, self.total // 4)):
            drawn: Values = self.space.at([generator.random() for _ in range(self.space.dimensions)])
        else:
            drawn = self._learned(generator.getrandbits(31), before)
        size, taken = _size(self.space), {repr(one.values) for one in before}
        if not size or repr(drawn) not in taken:
            return drawn
        others = map(self.space.nth, generator.sample(range(size), min(size, len(taken) + 1)))
        return next((one for one in others if repr(one) not in taken), drawn)

    def _learned(self, seed: int, before: Sequence[Tried]) -> Values:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        distributions = {name: _distribution(one) for name, one in self.space.parameters.items()}
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
        study = optuna.create_study(sampler=sampler, direction="maximize" if self.maximize else "minimize")
        states = optuna.trial.TrialState
        study.add_trials(
            [
                optuna.trial.create_trial(
                    state=states.RUNNING if one.open else states.FAIL if one.score is None else states.COMPLETE,
                    value=None if one.open else one.score,
                    params={name: _inside(self.space.parameters[name], value) for name, value in one.values.items()},
                    distributions=distributions,
                )
                for one in before
            ]
        )
        found = study.ask(distributions).params
        return {name: _outside(one, found[name]) for name, one in self.space.parameters.items()}


def _size(space: Group) -> int:
    """How many combinations the space has; 0: without end, or so many that nobody meets one twice."""
    return space.size if space.size and space.size <= COUNTED_MOST else 0


def _distribution(parameter: Any) -> Any:
    from optuna import distributions

    if isinstance(parameter, Choice):
        return distributions.CategoricalDistribution(list(range(len(parameter.options))))
    if parameter.q is None:
        return distributions.FloatDistribution(parameter.first, parameter.second)
    return distributions.IntDistribution(*parameter.multiples())


def _inside(parameter: Any, value: Any) -> Any:
    """A value as Optuna has it: a choice by its place, a rounded number as a multiple."""
    if isinstance(parameter, Choice):
        return next(place for place, one in enumerate(parameter.options) if one == value and type(one) is type(value))
    return round(value / parameter.q) if isinstance(parameter, Continuous) and parameter.q else value


def _outside(parameter: Any, found: Any) -> Any:
    if isinstance(parameter, Choice):
        return parameter.options[found]
    return parameter.multiple(found) if isinstance(parameter, Continuous) and parameter.q else found


def sobol_fits(space: Group) -> bool:
    return space.dimensions <= _SOBOL_MOST
