"""Parts of nodes for instances: two reconcilers at once never give more of a machine than it has."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator

from sqlalchemy import select

from smalt.sched import hosts, placement
from smalt.sched.hosts import Instances
from smalt.sched.want import Want
from smalt.store import nodes
from smalt.store.database import Collision, Database
from smalt.store.tables import allocation

ROUNDS = 20
CPU, GPU = "Standard_DS1_v2", "Standard_NC6s_v3"


def machines(database: Database, compute: str, *names: str, cpus: int = 2, gpus: int = 0) -> None:
    about = {"cpus": cpus, "memory_bytes": 448 << 30, "gpus": gpus, "seen_at": 1.0, "address": "192.0.2.1"}
    with database.write() as connection:
        for name in names:
            nodes.add(connection, name, compute, {}, 1.0)
            nodes.note(connection, name, state=nodes.CONNECTED, **about)


def deployment(name: str) -> str:
    return f"/w/onlineendpoints/e/deployments/{name}"


def hold(database: Database, compute: str, name: str, count: int = 1, size: str = CPU, most: int = 9) -> dict[str, str]:
    names = [f"srv-{name}-{at}" for at in range(count)]
    asked = Instances(names, names, size, "", "")
    gpus = int(size == GPU)
    while True:
        try:
            with database.write() as connection:
                want = Want(compute, deployment(name), count, most, 1.0, gpus, elsewhere=True)
                return dict(hosts.hold(connection, want, asked, 2.0))
        except Collision:
            continue


def at_once(database: Database, compute: str, names: list[str], size: str) -> list[str]:
    """The machines that they got, who asked at the same moment."""
    gate, given = threading.Barrier(len(names)), list[str]()

    def run(name: str) -> None:
        gate.wait()
        given.extend(hold(database, compute, name, size=size).values())

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


def rows(database: Database, machine: str) -> Iterator[tuple[str, str | None]]:
    with database.read() as connection:
        query = select(allocation.c.owner, allocation.c.gpus).where(allocation.c.machine == machine)
        yield from [(row.owner, row.gpus) for row in connection.execute(query.where(allocation.c.family.is_not(None)))]


def test_a_core_is_never_given_to_two(database: Database) -> None:
    for number in range(ROUNDS):
        compute = f"/w/computes/c{number}"
        machines(database, compute, f"a{number}", f"b{number}")
        names = [f"d{number}-{one}" for one in range(6)]
        at_once(database, compute, names, CPU)
        given = [machine for name in names for machine in hold(database, compute, name).values()]
        assert Counter(given) == {f"a{number}": 2, f"b{number}": 2}


def test_a_gpu_is_never_given_to_two(database: Database) -> None:
    for number in range(ROUNDS):
        compute = f"/w/computes/g{number}"
        machines(database, compute, f"g{number}", cpus=64, gpus=3)
        at_once(database, compute, [f"gd{number}-{one}" for one in range(4)], GPU)
        assert sorted(json.loads(gpus or "[]") for _, gpus in rows(database, f"g{number}")) == [[0], [1], [2]]


def test_a_job_and_an_instance_never_have_one_node(database: Database) -> None:
    for number in range(ROUNDS):
        compute = f"/w/computes/j{number}"
        machines(database, compute, f"j{number}")
        gate, had = threading.Barrier(2), list[str]()

        def job(gate: threading.Barrier = gate, compute: str = compute, had: list[str] = had) -> None:
            gate.wait()
            while True:
                try:
                    with database.write() as connection:
                        want = Want(compute, f"{compute}/job", 1, 9, 1.0)
                        had.extend("job" for _ in placement.acquire(connection, want, 0, 2.0) or [])
                        return
                except Collision:
                    continue

        thread = threading.Thread(target=job)
        thread.start()
        gate.wait()
        had.extend("instance" for _ in hold(database, compute, f"j{number}"))
        thread.join()
        assert len(had) == 1


def test_what_is_given_stays_and_what_is_over_is_given_to_others(database: Database) -> None:
    compute = "/w/computes/k"
    machines(database, compute, "k1")
    first = hold(database, compute, "blue")
    assert first == hold(database, compute, "blue") == {"srv-blue-0": "k1"}
    assert hold(database, compute, "green") and not hold(database, compute, "red")
    with database.write() as connection:
        hosts.keep(connection, deployment("blue"), {}, 3.0)
    assert hold(database, compute, "red") == {"srv-red-0": "k1"}
    for name in ("green", "red"):
        with database.write() as connection:
            hosts.keep(connection, deployment(name), {}, 4.0)
    assert not list(rows(database, "k1"))
    with database.read() as connection:
        assert placement.counts(connection, compute) == (0, 1)
