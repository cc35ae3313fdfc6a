"""What sweeps try: distributions, grid, random and Bayesian search; and what is refused when a sweep is submitted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import pytest

from smalt.arm.errors import ArmError
from smalt.kinds.jobs.sweeps import space
from smalt.kinds.jobs.sweeps.samplers import Bayesian, Grid, Random, Sampler, Sobol, Tried

LR_AND_DEPTH = {"lr": ["uniform", [0.0, 1.0]], "depth": ["choice", [[2, 3, 4]]]}
NESTED = {
    "model": ["choice", [[{"kind": "tree", "depth": ["randint", [3]]}, {"kind": "net", "lr": ["uniform", [0.1, 0.2]]}]]]
}


def drawn(distribution: list[Any], count: int = 400, base: float = math.e) -> list[Any]:
    sampler = Random(space.parse({"x": distribution}, base), seed=7, total=count)
    return [sampler.sample(number, ())["x"] for number in range(count)]


def search(sampler: Sampler, score: Any, count: int, at_once: int = 1) -> list[Tried]:
    """`count` trials, `at_once` side by side: the oldest that is open ends before another begins."""
    trials: list[Tried] = []
    for number in range(count):
        if number >= at_once:
            ended = trials[number - at_once]
            trials[number - at_once] = Tried(ended.values, score(ended.values))
        trials.append(Tried(sampler.sample(number, trials), None, open=True))
    return [Tried(one.values, score(one.values)) for one in trials]


@pytest.mark.parametrize(
    ("distribution", "low", "high", "mean"),
    [
        (["uniform", [2, 4]], 2, 4, 3.0),
        (["loguniform", [0, 2]], 1, math.exp(2), (math.exp(2) - 1) / 2),
        (["normal", [5, 2]], -5, 15, 5.0),
        (["lognormal", [0, 0.5]], 0, 10, math.exp(0.125)),
        (["randint", [10]], 0, 9, 4.5),
        (["quniform", [1, 100, 1]], 1, 100, 50.5),
        (["qnormal", [0, 3, 0.5]], -15, 15, 0.0),
        (["qloguniform", [0, 2, 0.1]], 1, math.exp(2), (math.exp(2) - 1) / 2),
        (["qlognormal", [2, 0.1, 1]], 0, 15, math.exp(2.005)),
    ],
)
def test_a_distribution_has_its_bounds_and_its_mean(
    distribution: list[Any], low: float, high: float, mean: float
) -> None:
    if distribution[0] == "randint":  # a space that has an end is not drawn from independently
        found = [space.Whole(10).at([one / 100]) for one in range(100)]
    else:
        found = drawn(distribution)
    assert low - 0.05 <= min(found) and max(found) <= high + 0.05
    assert fmean(found) == pytest.approx(mean, abs=4 * stdev(found) / math.sqrt(len(found)))


def test_rounded_numbers_are_written_as_they_were_meant() -> None:
    assert {type(one) for one in drawn(["quniform", [1, 100, 5]])} == {int}
    assert set(drawn(["quniform", [0.1, 0.5, 0.1]])) == {0.1, 0.2, 0.3, 0.4, 0.5}


def test_a_random_searchs_base_is_that_of_its_logarithms() -> None:
    found = drawn(["loguniform", [-3, -1]], base=10)
    assert 1e-3 <= min(found) < 2e-3 and 5e-2 < max(found) <= 1e-1


def test_a_grid_tries_every_combination_once() -> None:
    found = space.parse({"a": ["choice", [[1, 2, 3]]], "b": ["choice", [["x", "y"]]]})
    tried = [Grid(found).sample(number, ()) for number in range(6)]
    assert tried == [{"a": a, "b": b} for a, b in itertools.product([1, 2, 3], ["x", "y"])] and found.size == 6


def test_a_grid_of_choices_among_objects() -> None:
    inner = {"m": ["choice", [[{"k": 1, "d": ["choice", [[1, 2]]]}, {"k": 2}, "plain"]]]}
    found = space.parse(inner)
    assert [Grid(found).sample(number, ())["m"] for number in range(found.size or 0)] == [
        {"k": 1, "d": 1},
        {"k": 1, "d": 2},
        {"k": 2},
        "plain",
    ]


def test_random_values_follow_from_the_seed_and_the_number() -> None:
    found = space.parse(LR_AND_DEPTH)
    one, again, other = Random(found, 1, 10), Random(found, 1, 10), Random(found, 2, 10)
    assert [one.sample(n, ()) for n in range(10)] == [again.sample(n, ()) for n in range(10)]
    assert [one.sample(n, ()) for n in range(10)] != [other.sample(n, ()) for n in range(10)]


def test_a_random_search_of_few_combinations_tries_none_twice() -> None:
    found = space.parse({"a": ["choice", [[1, 2, 3]]], "b": ["randint", [4]]})
    tried = [tuple(Random(found, 3, 100).sample(number, ()).values()) for number in range(12)]
    assert len(set(tried)) == 12


def test_a_conditional_parameter_is_there_with_its_choice_alone() -> None:
    sampler = Random(space.parse(NESTED), 5, 50)
    found = [sampler.sample(number, ())["model"] for number in range(50)]
    assert {frozenset(one) for one in found} == {frozenset({"kind", "depth"}), frozenset({"kind", "lr"})}


def test_sobols_sequence_covers_the_space_more_evenly() -> None:
    found = space.parse({"x": ["uniform", [0, 1]], "y": ["uniform", [0, 1]]})

    def cells(sampler: Sampler) -> int:
        return len({tuple(int(8 * one) for one in sampler.sample(n, ()).values()) for n in range(64)})

    assert cells(Sobol(found, 123)) > cells(Random(found, 123, 64)) + 5
    assert Sobol(found, 123).sample(9, ()) == Sobol(found, 123).sample(9, ()) != Sobol(found, 124).sample(9, ())


def score(values: Any) -> float:
    return -((values["lr"] - 0.7) ** 2) - 0.1 * abs(values["depth"] - 3) - (values["steps"] - 40) ** 2 / 1e4


@pytest.mark.parametrize("at_once", [1, 4])
def test_bayesian_search_finds_better_values_than_random_search(at_once: int) -> None:
    found = space.parse({**LR_AND_DEPTH, "steps": ["quniform", [0, 100, 5]]})

    def best(samplers: Sequence[Sampler]) -> float:
        return fmean(max(one.score or 0 for one in search(sampler, score, 24, at_once)) for sampler in samplers)

    bayesian = best([Bayesian(found, seed, 24, maximize=True) for seed in range(6)])
    assert bayesian > best([Random(found, seed, 24) for seed in range(6)])


def test_a_bayesian_searchs_next_values_follow_from_what_was_tried() -> None:
    found = space.parse(LR_AND_DEPTH)
    before = [
        Tried({"lr": number / 12, "depth": 2 + number % 3}, None if number in (3, 11) else number, number == 11)
        for number in range(12)
    ]
    sampler = Bayesian(found, 4, 20, maximize=True)
    assert sampler.sample(12, before) == Bayesian(found, 4, 20, maximize=True).sample(12, before)
    assert sampler.sample(12, before)["lr"] > 0.5
    turned = [Tried(one.values, None if one.score is None else -one.score, one.open) for one in before]
    assert sampler.sample(12, before) == Bayesian(found, 4, 20, maximize=False).sample(12, turned)


def test_a_bayesian_search_of_few_combinations_tries_none_twice() -> None:
    found = space.parse({"a": ["choice", [[1, 2, 3, True, "1"]]], "b": ["choice", [[0.1, 0.2, 0.3]]]})
    trials = search(Bayesian(found, 1, 15, maximize=True), lambda values: values["b"], 15)
    assert len({repr(one.values) for one in trials}) == 15


@pytest.mark.parametrize(
    ("given", "field", "word"),
    [
        ({}, "properties.searchSpace", "at least one"),
        ({"x": ["unifrom", [0, 1]]}, "properties.searchSpace.x", "uniform"),
        ({"x": ["uniform", [0]]}, "properties.searchSpace.x", "min_value, max_value"),
        ({"x": ["uniform", [1, 0]]}, "properties.searchSpace.x.min_value", "below"),
        ({"x": ["uniform", [0, "a"]]}, "properties.searchSpace.x.max_value", "'a'"),
        ({"x": ["loguniform", [1, 1000]]}, "properties.searchSpace.x.max_value", "power"),
        ({"x": ["quniform", [0.1, 0.2, 5]]}, "properties.searchSpace.x.q", "multiple"),
        ({"x": ["quniform", [0, 1, 0]]}, "properties.searchSpace.x.q", "above 0"),
        ({"x": ["normal", [0, -1]]}, "properties.searchSpace.x.sigma", "above 0"),
        ({"x": ["randint", [0]]}, "properties.searchSpace.x.upper", "from 1"),
        ({"x": ["choice", [[]]]}, "properties.searchSpace.x.values", "at least one"),
        ({"x": ["choice", [[1, None]]]}, "properties.searchSpace.x.values.1", "a text"),
        ({"x": ["choice", [[{"a": ["normal", [0, 0]]}]]]}, "properties.searchSpace.x.values.0.a.sigma", "above 0"),
        ({"x": 5}, "properties.searchSpace.x", "TYPE"),
        ({"bad name": ["randint", [3]]}, "properties.searchSpace.bad name", "letters"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(given: Any, field: str, word: str) -> None:
    with pytest.raises(ArmError) as refused:
        space.parse(given)
    assert refused.value.status == 400 and refused.value.target == field and word in refused.value.message


def test_all_wrong_parameters_are_told_together() -> None:
    with pytest.raises(ArmError) as refused:
        space.parse({"x": ["uniform", [1, 0]], "y": ["randint", [2]], "z": ["nothing", []]})
    assert [one.target for one in refused.value.details] == [
        "properties.searchSpace.x.min_value",
        "properties.searchSpace.z",
    ]
