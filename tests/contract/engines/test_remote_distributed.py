"""Distributed jobs over machines that dialled in, each with an address of its own: what they are given makes them meet."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from fakes.distributed import ALL_REDUCE, MPI, fields
from fakes.refs import ref
from live.ports import free_port
from smalt.agent.wire import Outcome
from smalt.kinds.jobs import ranks

ADDRESSES = ["127.0.0.2", "127.0.0.3"]
OUTCOME = [f"{rank} {rank % 2} {rank // 2} 10\n" for rank in range(4)]
FINE = [(Outcome.EXITED, 0, "")] * 2


def gang(
    remote: Any, distribution: dict[str, Any], command: str, addresses: list[str], **variables: str
) -> list[tuple[Outcome, int, str]]:
    """How the tasks of a job on two machines end."""
    artifacts, ports = ref(remote.root / "artifacts"), [free_port(), free_port()]
    nodes = ranks.nodes(
        {"command": command, "distribution": distribution}, 2, ports, artifacts, "5ecret", addresses=addresses
    )
    for number, node in enumerate(nodes):
        remote.dialled.join(f"m{number}", addresses[number])
        task = remote.task(
            f"n{number}",
            **fields(node, variables),
            hostname=f"job-node-{number}",
            hosts=["job-node-0", "job-node-1"],
            addresses=dict(zip(["job-node-0", "job-node-1"], addresses, strict=True)),
            machine=f"m{number}",
        )
        remote.engine.ensure(task)
    if distribution["distributionType"] == "Ray":  # as the job that sees it does
        remote.changes.until("n0", lambda state: state.done)
        for number in range(2):
            remote.engine.stop(f"n{number}", 5)
    ended = [remote.changes.ended(f"n{number}", 110) for number in range(2)]
    return [(one.outcome, one.exit_code, one.error) for one in ended]


def said(remote: Any) -> list[str]:
    return [(remote.root / "artifacts" / "user_logs" / f"std_log_process_{rank}.txt").read_text() for rank in range(4)]


def test_ranks_on_two_machines_meet(remote: Any) -> None:
    distribution = {"distributionType": "PyTorch", "processCountPerInstance": 2}
    assert gang(remote, distribution, 'python3 -c "$CODE"', ADDRESSES, CODE=ALL_REDUCE) == FINE
    assert said(remote) == OUTCOME
    assert [remote.dialled.machine(name).address for name in ("m0", "m1")] == ADDRESSES


def test_mpi_over_two_machines_without_ssh(remote: Any, open_mpi: Path) -> None:
    distribution = {"distributionType": "Mpi", "processCountPerInstance": 2}
    path = f"{open_mpi}:{os.environ['PATH']}"
    assert gang(remote, distribution, 'python -c "$CODE"', ADDRESSES, CODE=MPI, PATH=path) == FINE
    assert said(remote) == OUTCOME


def test_a_rank_that_fails_on_a_machine_is_named(remote: Any) -> None:
    artifacts, distribution = (
        ref(remote.root / "artifacts"),
        {"distributionType": "PyTorch", "processCountPerInstance": 2},
    )
    (node,) = ranks.nodes({"command": "exit $RANK", "distribution": distribution}, 1, [free_port()], artifacts, "s")
    remote.engine.ensure(
        remote.task("one", command=node.command, log=node.log, ranks=node.ranks, variables=node.variables)
    )
    state = remote.changes.ended("one")
    assert (state.exit_code, state.rank) == (1, 1)


def outer() -> str:
    """An address of this machine that is none of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.254", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


def test_mpi_between_addresses_of_a_network(remote: Any, open_mpi: Path) -> None:
    distribution = {"distributionType": "Mpi", "processCountPerInstance": 2}
    path, use = f"{open_mpi}:{os.environ['PATH']}", 'echo "$OMPI_MCA_btl_tcp_if_include" >&2; python -c "$CODE"'
    assert gang(remote, distribution, use, [outer()] * 2, CODE=MPI, PATH=path) == FINE
    assert said(remote) == [f"{outer()}/32\n{one}" for one in OUTCOME]


def test_a_ray_cluster_of_two_machines(remote: Any, with_ray: dict[str, str]) -> None:
    at = outer()
    count = "import os; from ray import _raylet; print(len(_raylet.GcsClient(os.environ['RAY_ADDRESS']).get_all_node_info(9)))"
    command = f'echo ${{RAY_ADDRESS%:*}}; python -c "{count}"'
    ended = gang(remote, {"distributionType": "Ray"}, command, [at] * 2, **with_ray)
    assert [one[0] for one in ended] == [Outcome.STOPPED] * 2
    assert (remote.root / "artifacts" / "user_logs" / "std_log.txt").read_text() == f"{at}\n2\n"
