"""Who may start before the first in the queue without delaying it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smalt.sched.backfill import SLACK_S, Held, gap

NOW = 1000.0


def held(*untils: float | None) -> list[Held]:
    return [Held(until, False) for until in untils]


def test_without_limits_nobody_is_let_past_but_who_gives_way() -> None:
    found = gap(3, 4, held(None), reclaims=True)
    assert found is not None
    assert not found.takes(1, False, 0, NOW)
    assert not found.takes(1, False, 60, NOW), "nobody knows when the first starts"
    assert found.takes(3, True, 0, NOW)
    assert not found.takes(4, True, 0, NOW), "there are three"


def test_who_ends_before_the_first_can_start_goes_before_it() -> None:
    found = gap(3, 4, held(NOW + 600), reclaims=True)
    assert found is not None
    assert found.takes(3, False, 600 - SLACK_S, NOW)
    assert not found.takes(1, False, 600 - SLACK_S + 1, NOW)
    assert not found.takes(1, False, 0, NOW)


def test_what_the_first_leaves_over_can_be_had_for_any_time() -> None:
    found = gap(1, 3, held(NOW + 60, NOW + 60, NOW + 60), reclaims=True)
    assert found is not None
    assert found.left == 1 and found.takes(1, False, 0, NOW)


def test_a_first_that_can_have_its_nodes_or_take_them_back_is_waited_for() -> None:
    assert gap(4, 4, held(None), reclaims=True) is None
    assert gap(0, 4, held(None), reclaims=True) is None
    assert gap(2, 4, [Held(None, True), Held(None, True)], reclaims=True) is None
    assert gap(2, 4, [Held(None, True), Held(None, True)], reclaims=False) is not None, "it takes nothing back"


@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.lists(st.tuples(st.none() | st.floats(NOW, NOW + 1e6), st.booleans()), max_size=8),
    st.integers(1, 8),
    st.floats(1, 1e6),
)
def test_the_first_never_starts_later(
    free: int, needs: int, holders: list[tuple[float | None, bool]], nodes: int, limit_s: float
) -> None:
    """Whoever is let past for a limited time has ended when the first could have started."""
    found = gap(free, needs, [Held(*one) for one in holders], reclaims=True)
    if found is None or not found.takes(nodes, False, limit_s, NOW):
        return
    ends = sorted(until for until, _ in holders if until is not None)
    lack = needs - free
    start = ends[lack - 1]
    stays = float("inf") if nodes <= found.left else NOW + limit_s
    after = sorted([*ends, *([stays] * nodes)])
    assert after[needs - (free - nodes) - 1] <= start
