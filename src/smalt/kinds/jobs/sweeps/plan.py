"""A sweep's document, read: the sampler, the limits, the policy. Each is checked here when the sweep is taken."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Self

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import OURS, Document
from smalt.arm.validation import nearest
from smalt.kinds.jobs.sweeps import samplers, space
from smalt.kinds.jobs.sweeps.policies import Bandit, EarlyTermination, MedianStopping, Truncation
from smalt.kinds.jobs.sweeps.samplers import Bayesian, Grid, Random, Sampler, Sobol
from smalt.kinds.jobs.sweeps.space import Group
from smalt.store.document import part
from smalt.store.resources import Row

TOTAL_MOST, AT_ONCE_MOST = 1000, 100  # trials: Azure takes limits up to the first, and runs up to the second
TIMEOUT = "P60D"  # of a sweep that gives none
SEED, TOTAL = "seed", "total"  # in the spec's own part
_ALGORITHMS = ("Random", "Grid", "Bayesian")
_POLICIES = ("Bandit", "MedianStopping", "TruncationSelection")


@dataclass(frozen=True)
class SweepPlan:
    """`total`: how many trials there will be; `concurrent`: how many at once; `timeout_s`: of the whole sweep."""

    sampler: Sampler
    total: int
    concurrent: int
    timeout_s: float
    metric: str
    maximize: bool
    termination: EarlyTermination | None

    @classmethod
    def of(cls, row: Row) -> Self:
        properties, ours = row.properties, row.spec[OURS]
        return cls.read(properties, ours[SEED], ours[TOTAL], searched(properties))

    @classmethod
    def read(cls, properties: Document, seed: int, total: int, found: Group) -> Self:
        """Of what was checked."""
        limits, objective = part(properties, "limits"), properties["objective"]
        maximize = objective["goal"].lower() == "maximize"
        return cls(
            sampler(properties, found, seed, total, maximize),
            total,
            min(limits.get("maxConcurrentTrials") or total, AT_ONCE_MOST),
            seconds_of(limits.get("timeout") or TIMEOUT, 0),
            objective["primaryMetric"],
            maximize,
            termination(properties, maximize),
        )


def searched(properties: Document) -> Group:
    """The search space. Raises ArmError(400)."""
    return space.parse(properties.get("searchSpace"), log_base(properties))


def trial_count(properties: Document, found: Group) -> int:
    """How many trials there will be: fewer than the limit where the space has fewer combinations."""
    most = part(properties, "limits").get("maxTotalTrials") or TOTAL_MOST
    return most if found.size is None else min(most, found.size)


def algorithm(properties: Document) -> str:
    """Random, Grid or Bayesian. Raises ArmError(400)."""
    return _one_of(part(properties, "samplingAlgorithm"), "samplingAlgorithmType", _ALGORITHMS, "samplingAlgorithm")


def log_base(properties: Document) -> float:
    """Of loguniform and its kin: e, or what a random search says. Raises ArmError(400)."""
    given, field = part(properties, "samplingAlgorithm").get("logbase"), "properties.samplingAlgorithm.logbase"
    if given is None or given == "e":
        return math.e
    try:
        base = float(given)
    except (TypeError, ValueError, OverflowError):
        base = 0.0
    if not 0 < base < math.inf or base == 1 or isinstance(given, bool):
        raise invalid(f"{field}: '{str(given)[:80]}' is neither 'e' nor a positive number other than 1.", field)
    return base


def sampler(properties: Document, found: Group, seed: int, total: int, maximize: bool) -> Sampler:
    match algorithm(properties):
        case "Grid":
            return Grid(found)
        case "Bayesian":
            return Bayesian(found, seed, total, maximize)
        case _:
            is_sobol = str(part(properties, "samplingAlgorithm").get("rule") or "").lower() == "sobol"
            return Sobol(found, seed) if is_sobol and found.size is None else Random(found, seed, total)


def check_sampling(properties: Document, found: Group) -> None:
    """Whether the algorithm can search this space. Raises ArmError(400)."""
    named, given, field = algorithm(properties), part(properties, "samplingAlgorithm"), "properties.samplingAlgorithm"
    if given.get("rule"):
        _one_of(given, "rule", ("Random", "Sobol"), "samplingAlgorithm")
        if str(given["rule"]).lower() == "sobol" and not samplers.sobol_fits(found):
            raise invalid(
                f"{field}.rule: the search space has too many parameters for Sobol's sequence.", f"{field}.rule"
            )
    if named == "Grid":
        _check_types(found, {"choice"}, "grid sampling tries every combination, so it takes choice alone")
    if named == "Bayesian":
        _check_bayesian(properties, found)


def _check_bayesian(properties: Document, found: Group) -> None:
    _check_types(found, samplers.CONTINUED, f"Bayesian sampling takes {', '.join(sorted(samplers.CONTINUED))}")
    for name, one in found.parameters.items():
        if isinstance(one, space.Choice) and any(isinstance(option, Group) for option in one.options):
            path = f"properties.searchSpace.{name}"
            raise invalid(f"{path}: Bayesian sampling cannot choose among objects; use random sampling.", path)
    if properties.get("earlyTermination"):
        field = "properties.earlyTermination"
        raise invalid(
            f"{field}: Bayesian sampling has no early termination; leave it out, or use random sampling.", field
        )


def _check_types(found: Group, known: Set[str], rule: str) -> None:
    """Whether all parameters have `known` distributions. Raises ArmError(400), with a detail for each that has not."""
    errors: list[ArmError] = []
    for name, one in found.parameters.items():
        if others := Group({name: one}).types() - known:
            path = f"properties.searchSpace.{name}"
            said = f"{rule}, and this has {', '.join(sorted(others))}. Use another distribution, or random sampling."
            errors.append(invalid(f"{path}: {said}", path))
    if errors:
        raise space.together(errors)


def termination(properties: Document, maximize: bool) -> EarlyTermination | None:
    """The policy, if there is one. Raises ArmError(400)."""
    given = part(properties, "earlyTermination")
    if not given:
        return None
    field = "properties.earlyTermination"
    match _one_of(given, "policyType", _POLICIES, "earlyTermination"):
        case "Bandit":
            policy: Any = _bandit(given, field)
        case "MedianStopping":
            policy = MedianStopping()
        case _:
            percentage = given.get("truncationPercentage") or 0
            if not 1 <= percentage <= 99:
                path = f"{field}.truncationPercentage"
                raise invalid(f"{path}: {percentage} is no whole number from 1 to 99.", path)
            policy = Truncation(percentage, not given.get("excludeFinishedJobs"))
    return EarlyTermination(policy, maximize, given.get("evaluationInterval") or 1, given.get("delayEvaluation") or 0)


def _bandit(given: Document, field: str) -> Bandit:
    factor, amount = given.get("slackFactor") or 0.0, given.get("slackAmount") or 0.0
    for name, value in (("slackFactor", factor), ("slackAmount", amount)):
        if not 0 <= value < math.inf:
            raise invalid(f"{field}.{name}: {value:g} is not above 0.", f"{field}.{name}")
    if bool(factor) == bool(amount):
        raise invalid(
            f"{field}.slackFactor: a bandit policy has either slackFactor or slackAmount, above 0.",
            f"{field}.slackFactor",
        )
    return Bandit(factor, amount)


def _one_of(given: Document, name: str, known: tuple[str, ...], above: str) -> str:
    """As we spell it."""
    field, said = f"properties.{above}.{name}", str(given.get(name) or "")
    spelled = {one.lower(): one for one in known}.get(said.lower())
    if spelled is None:
        what = f"'{said}' is not known." if said else "it is missing."
        raise invalid(f"{field}: {what}{nearest(said, known)} There are {', '.join(known)}.", field)
    return spelled
