"""Early termination: which trials are ended, at which interval, compared with whom."""

from __future__ import annotations

import pytest

from smalt.kinds.jobs.sweeps.policies import Bandit, EarlyTermination, Logged, MedianStopping, Truncation


def runs(*values: float) -> Logged:
    return Logged(values, runs=True)


def done(*values: float) -> Logged:
    return Logged(values, completed=True)


def cut(*values: float) -> Logged:
    return Logged(values)


def bandit(maximize: bool = True, interval: int = 1, delay: int = 0, **slack: float) -> EarlyTermination:
    return EarlyTermination(Bandit(**slack), maximize, interval, delay)


@pytest.mark.parametrize(
    ("value", "maximize", "ended"),
    [(0.66, True, True), (0.67, True, False), (0.97, False, True), (0.95, False, False)],
)
def test_a_bandits_slack_factor_is_a_ratio(value: float, maximize: bool, ended: bool) -> None:
    """0.8 / 1.2 = 0.667, as in Azure's documentation; and 0.8 · 1.2 = 0.96 where less is better."""
    assert bandit(maximize, factor=0.2).to_end({0: runs(0.8), 1: runs(value)}) == ([1] if ended else [])


@pytest.mark.parametrize(("value", "ended"), [(-1.3, True), (-1.1, False), (-1.0, False)])
def test_a_bandits_slack_is_behind_the_best_also_below_zero(value: float, ended: bool) -> None:
    assert bandit(factor=0.2).to_end({0: runs(-1.0), 1: runs(value)}) == ([1] if ended else [])


def test_a_bandits_slack_amount_is_a_distance() -> None:
    trials = {0: runs(0.8), 1: runs(0.71), 2: runs(0.69)}
    assert bandit(amount=0.1).to_end(trials) == [2]
    assert bandit(False, amount=0.1).to_end(trials) == [0]


def test_the_best_so_far_counts_and_not_the_newest() -> None:
    assert bandit(factor=0.1).to_end({0: runs(0.5, 0.8), 1: runs(0.8, 0.1)}) == []


def test_trials_are_compared_at_the_interval_that_the_slower_has_reached() -> None:
    """The first is at 0.9 by now, but was at 0.5 when it had logged as often as the second."""
    assert bandit(factor=0.2).to_end({0: runs(0.5, 0.6, 0.9), 1: runs(0.45)}) == []
    assert bandit(factor=0.2).to_end({0: runs(0.5, 0.6, 0.9), 1: runs(0.3)}) == [1]


def test_who_runs_and_has_not_come_so_far_is_not_compared_with_and_who_completed_is() -> None:
    assert bandit(factor=0.2).to_end({0: runs(0.9), 1: runs(0.5, 0.5)}) == []
    assert bandit(factor=0.2).to_end({0: done(0.9), 1: runs(0.5, 0.5)}) == [1]
    assert bandit(factor=0.2).to_end({0: cut(0.9), 1: runs(0.5, 0.5)}) == []


@pytest.mark.parametrize(("interval", "delay", "count", "applies"), [
    (1, 0, 1, 1), (2, 0, 1, 0), (2, 0, 5, 4), (1, 5, 4, 0), (1, 5, 5, 5), (3, 5, 5, 0), (3, 5, 7, 6), (1, 0, 0, 0),
])  # fmt: skip
def test_a_policy_applies_at_multiples_from_the_delay_on(interval: int, delay: int, count: int, applies: int) -> None:
    assert bandit(interval=interval, delay=delay, factor=0.1).applies_at(count) == applies


def test_nothing_is_ended_before_the_delay_and_between_intervals() -> None:
    policy = bandit(interval=2, delay=4, factor=0.1)
    assert policy.to_end({0: runs(0.9, 0.9, 0.9), 1: runs(0.1, 0.1, 0.1)}) == []
    assert policy.to_end({0: runs(*[0.9] * 4), 1: runs(*[0.1] * 5)}) == [1]


def test_median_stopping_compares_the_best_with_the_median_of_the_averages() -> None:
    """The averages are 0.8, 0.5, 0.3: who never was as good as 0.5 is ended."""
    policy = EarlyTermination(MedianStopping(), maximize=True)
    assert policy.to_end({0: runs(0.7, 0.9), 1: runs(0.5, 0.5), 2: runs(0.2, 0.4)}) == [2]
    assert policy.to_end({0: runs(0.7, 0.9), 1: runs(0.5, 0.5), 2: runs(0.1, 0.6)}) == []
    less = EarlyTermination(MedianStopping(), maximize=False)
    assert less.to_end({0: runs(0.7, 0.9), 1: runs(0.5, 0.5), 2: runs(0.2, 0.4)}) == [0]


def test_truncation_ends_the_worst_share_of_all() -> None:
    trials = {number: runs(number / 10) for number in range(10)}
    assert EarlyTermination(Truncation(20), True).to_end(trials) == [0, 1]
    assert EarlyTermination(Truncation(20), False).to_end(trials) == [8, 9]
    assert EarlyTermination(Truncation(9), True).to_end(trials) == []


def test_truncation_counts_those_that_it_ended_and_ends_no_more_for_them() -> None:
    trials = {number: cut(number / 10) if number < 2 else runs(number / 10) for number in range(10)}
    assert EarlyTermination(Truncation(20), True).to_end(trials) == []


def test_truncation_may_leave_finished_trials_out() -> None:
    trials = {0: done(0.1), 1: runs(0.2), 2: runs(0.3), 3: runs(0.4), 4: runs(0.5)}
    assert EarlyTermination(Truncation(25), True).to_end(trials) == []
    assert EarlyTermination(Truncation(25, ended_ones=False), True).to_end(trials) == [1]


@pytest.mark.parametrize("policy", [Bandit(factor=0.1), MedianStopping(), Truncation(50)])
def test_equals_stay_and_so_does_who_is_alone(policy: Bandit | MedianStopping | Truncation) -> None:
    assert EarlyTermination(policy, True).to_end({0: runs(0.5), 1: runs(0.5), 2: runs(0.5)}) == []
    assert EarlyTermination(policy, True).to_end({0: runs(0.5)}) == []
    assert EarlyTermination(policy, True).to_end({0: runs(), 1: runs(0.5)}) == []
