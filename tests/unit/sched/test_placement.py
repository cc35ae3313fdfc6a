"""Who gets which nodes: the pure decision."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smalt.sched.placement import Node, available
from smalt.sched.sizes import SIZES, limits_of


def busy(*numbers: int) -> list[Node]:
    return [Node(number, "someone", 0.0) for number in numbers]


def idle(*numbers: int) -> list[Node]:
    return [Node(number, None, 0.0) for number in numbers]


def test_idle_nodes_come_first_then_new_ones() -> None:
    assert available([*busy(0), *idle(1)], most=4) == [1, 2, 3]


def test_machines_that_cannot_be_had_are_not_given() -> None:
    assert available([*busy(0), *idle(1, 2)], most=4, machines={2, 3}) == [2, 3]


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.integers(0, 10))
def test_never_more_than_there_are_and_never_a_busy_one(taken: set[int], free: set[int], most: int) -> None:
    chosen = available([*busy(*taken), *idle(*free - taken)], most)
    could = (free - taken) | (set(range(most)) - taken)
    assert set(chosen) <= could
    assert len(chosen) == len(set(chosen)) == min(len(could), max(most - len(taken), 0))


def test_a_size_limits_memory_to_what_the_machine_has() -> None:
    limits = limits_of("Standard_DS3_v2", 8 << 30)
    assert (limits.cpu_weight, limits.memory_bytes) == (400, 8 << 30)
    assert limits.memory_is_all and not limits_of("Standard_DS3_v2", 14 << 30).memory_is_all
    assert limits_of("unheard-of", 8 << 30).memory_bytes == 0
    assert all(size.cpus > 0 and size.memory_gb > 0 and size.disk_gb > 0 for size in SIZES.values())


def test_a_size_limits_the_disk_and_says_what_changes_it() -> None:
    limits = limits_of("standard_ds3_v2", 64 << 30, "instance_type of the deployment")
    assert limits.disk_bytes == 28 << 30
    assert limits.more == "Its VM size is Standard_DS3_v2 (instance_type of the deployment); a larger one has more."
    assert limits_of("", 64 << 30).disk_bytes == 0
    disks = {name: limits_of(name, 1).disk_bytes >> 30 for name in ("Standard_D2s_v5", "Standard_E2ds_v4")}
    assert disks == {"Standard_D2s_v5": 120, "Standard_E2ds_v4": 75}


def test_shared_memory_is_no_more_than_the_memory() -> None:
    assert limits_of("Standard_DS1_v2", 8 << 30, shm_bytes=2 << 30).shm_bytes == 2 << 30
    assert limits_of("Standard_DS1_v2", 8 << 30, shm_bytes=4 << 30).shm_bytes == int(3.5 * 2**30)
    assert limits_of("", 8 << 30, shm_bytes=16 << 30).shm_bytes == 8 << 30
