"""When those who wait are expected to start."""

from __future__ import annotations

from smalt.sched.forecast import starts, typical_s

NOW = 1000.0


def test_free_nodes_are_had_now_and_the_next_when_the_first_ends() -> None:
    assert starts([990.0], 1, [1, 1, 1], 100.0, NOW) == [1000.0, 1090.0, 1100.0]


def test_a_gang_waits_for_all_its_nodes_and_nobody_passes_it() -> None:
    assert starts([950.0, 980.0], 0, [2, 1], 100.0, NOW) == [1080.0, 1180.0]
    assert starts([950.0, 980.0, 990.0], 0, [2, 1], 100.0, NOW) == [1080.0, 1090.0]


def test_what_lasts_longer_than_others_may_end_at_any_time() -> None:
    assert starts([0.0], 0, [1], 100.0, NOW) == [1000.0]


def test_without_a_past_only_what_is_free_is_known() -> None:
    assert starts([990.0], 1, [1, 1], None, NOW) == [1000.0, None]
    assert starts([], 0, [1], 5.0, NOW) == [None]
    assert starts([990.0], 1, [1, 3, 1], 5.0, NOW) == [1000.0, None, None], "who wants too much stops all behind"


def test_the_typical_length_is_the_middle_one() -> None:
    assert typical_s([1.0, 2.0, 1000.0]) == 2.0
    assert typical_s([]) is None
