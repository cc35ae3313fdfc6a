"""Whether one more instance has room on a machine: the pure decision."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smalt.arm.ports import Capacity
from smalt.sched.room import Placed, asked, fits, left, most, most_of_any, whole
from smalt.store.nodes import RAY, REMOTE, Machine

SIZES = ["", "Standard_DS1_v2", "Standard_F2s_v2", "Standard_E2s_v5", "Standard_D64s_v5", "Standard_NC6s_v3"]
GIB = 1 << 30


def filled(of: Capacity, sizes: list[str]) -> list[Placed]:
    """Each that has room, in this order."""
    placed = list[Placed]()
    for number, size in enumerate(sizes):
        if (gpus := fits(size, of, placed)) is not None:
            placed.append(Placed(f"i{number}", "d", "m", size, gpus))
    return placed


@given(st.integers(0, 32), st.integers(0, 256), st.integers(0, 4), st.lists(st.sampled_from(SIZES), max_size=20))
def test_several_never_have_more_than_the_machine(cpus: int, gib: int, gpus: int, sizes: list[str]) -> None:
    of = Capacity(cpus, gib * GIB, gpus)
    placed = filled(of, sizes)
    asks = [asked(one.size, of) for one in placed]
    indices = [index for one in placed for index in one.gpus]
    assert len(indices) == len(set(indices)) == sum(one.gpus for one in asks) and set(indices) <= set(range(gpus))
    if len(placed) > 1:
        assert sum(one.cpus for one in asks) <= cpus and sum(one.memory_bytes for one in asks) <= gib * GIB
        assert "" not in [one.size for one in placed]


@given(st.integers(1, 32), st.integers(1, 256), st.integers(1, 4), st.sampled_from(SIZES))
def test_as_many_fit_as_are_said_to(cpus: int, gib: int, gpus: int, size: str) -> None:
    of = Capacity(cpus, gib * GIB, gpus)
    assert len(filled(of, [size] * 300)) == most(size, of)


def test_those_that_leave_hold_gpus_alone() -> None:
    of = Capacity(6, 112 * GIB, 1)
    old = Placed("old", "d", "m", "Standard_NC6s_v3", (0,))
    assert fits("Standard_D4s_v5", of, [old]) is None and fits("Standard_D4s_v5", of, [old], ["old"]) == ()
    assert fits("Standard_NC6s_v3", of, [old], ["old"]) is None
    assert left(of, [old]) == Capacity(0, 0, 0)


def test_a_node_of_ray_has_what_ray_gave_it() -> None:
    about = {"compute": "c", "number": 0, "cpus": 64, "memory_bytes": 256 * GIB, "seen_at": 1.0}
    here, there = (Machine("m", engine, **about) for engine in (REMOTE, RAY))  # pyright: ignore[reportArgumentType]
    assert whole(here, "Standard_DS3_v2") == Capacity(64, 256 * GIB)
    assert whole(there, "Standard_DS3_v2") == Capacity(4, 14 * GIB)
    assert most_of_any("Standard_DS1_v2", [here], "Standard_DS3_v2") == 64
    assert (
        most_of_any("Standard_DS1_v2", [there], "Standard_DS3_v2")
        == 4
        == most_of_any("Standard_DS1_v2", [], "Standard_DS3_v2")
    )
    assert most_of_any("Standard_DS1_v2", [], "") == 1
