"""Jobs of several processes: who runs where, with which variables and logs, and when all of it has ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from fakes import sweeps
from fakes.jobs import JOBS, cluster, status, submit
from fakes.platform import Harness
from smalt.agent.wire import TaskSpec
from smalt.arm.ports import Isolation
from smalt.kinds.jobs import launch, peers
from smalt.kinds.jobs.status import JobStatus
from smalt.store.resources import Row
from smalt.store.tables import resource


def spread(harness: Harness, nodes: int = 1, name: str = "train-1", **distribution: Any) -> list[TaskSpec]:
    """The tasks of a job with this distribution, by node."""
    more = {"distribution": distribution} if distribution else {}
    found = submit(
        harness, name, computeId=cluster(harness, most=8), resources={"instanceCount": nodes}, command="run", **more
    )
    assert found.status_code == 201, found.text
    harness.settle()
    return sorted(harness.engine.tasks.values(), key=lambda task: task.name)


def refused(harness: Harness, nodes: int = 1, **distribution: Any) -> tuple[str, str]:
    found = submit(
        harness, computeId=cluster(harness, most=8), resources={"instanceCount": nodes}, distribution=distribution
    )
    assert found.status_code == 400, found.text
    error = found.json()["error"]
    return error["target"], error["message"]


def logs(tasks: list[TaskSpec]) -> list[str]:
    return [log.name.rpartition("/")[2] for task in tasks for log in task.logs if log]


class TestPyTorch:
    def test_one_process_for_each_rank(self, harness: Harness) -> None:
        tasks = spread(harness, 2, distributionType="PyTorch", processCountPerInstance=2)
        assert [len(task.ranks) for task in tasks] == [2, 2]
        seen = [
            tuple((task.variables | rank.variables)[name] for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
            for task in tasks
            for rank in task.ranks
        ]
        assert seen == [("0", "0", "0"), ("1", "1", "0"), ("2", "0", "1"), ("3", "1", "1")]
        for task in tasks:
            variables, port = task.variables, tasks[0].variables["MASTER_PORT"]
            assert (variables["WORLD_SIZE"], variables["AZUREML_NODE_COUNT"]) == ("4", "2")
            assert variables["AZ_BATCH_MASTER_NODE"] == f"{variables['MASTER_ADDR']}:{port}"
            assert {rank.variables["LOCAL_WORLD_SIZE"] for rank in task.ranks} == {"2"}
            assert not any(rank.serves or rank.argv for rank in task.ranks) and task.command == "run"
        assert logs(tasks) == [f"std_log_process_{one}.txt" for one in range(4)]

    def test_one_process_a_node_is_the_command_itself(self, harness: Harness) -> None:
        (task,) = spread(harness, distributionType="pytorch")
        assert (task.ranks, task.variables["RANK"], task.variables["LOCAL_WORLD_SIZE"]) == ([], "0", "1")
        assert logs([task]) == ["std_log.txt"]

    def test_names_of_logs_are_as_long_as_the_last(self, harness: Harness) -> None:
        """So that clients, which stream `std_log[\\D]*[0]*.txt`, find the first, in the order of ranks."""
        tasks = spread(harness, 3, distributionType="PyTorch", processCountPerInstance=4)
        assert logs(tasks)[0] == "std_log_process_00.txt" and logs(tasks)[-1] == "std_log_process_11.txt"

    def test_what_the_user_sets_goes_over_it(self, harness: Harness) -> None:
        submit(
            harness,
            environmentVariables={"RANK": "mine"},
            distribution={"distributionType": "PyTorch", "processCountPerInstance": 2},
        )
        harness.settle()
        (task,) = harness.engine.tasks.values()
        assert task.variables["RANK"] == "mine" and all("RANK" not in rank.variables for rank in task.ranks)

    def test_all_ranks_of_a_node_see_its_gpus_in_one_order(self, harness: Harness) -> None:
        """A script takes the one with the number LOCAL_RANK, as on Azure: no rank is shown less."""
        harness.engine.fit(gpus=4)
        submit(
            harness,
            resources={"instanceCount": 2, "instanceType": "Standard_NC12s_v3"},
            distribution={"distributionType": "PyTorch", "processCountPerInstance": 2},
        )
        harness.settle()
        tasks = sorted(harness.engine.tasks.values(), key=lambda task: task.name)
        assert [task.gpus for task in tasks] == [[0, 1], [2, 3]]
        assert not any("CUDA_VISIBLE_DEVICES" in rank.variables for task in tasks for rank in task.ranks)


class TestTensorFlow:
    def test_workers_and_servers_are_dealt_out(self, harness: Harness) -> None:
        tasks = spread(harness, 2, distributionType="TensorFlow", workerCount=3, parameterServerCount=1)
        first, second = harness.row(f"{JOBS}/train-1").status["ports"]
        cluster = {
            "worker": [f"127.0.0.1:{first}", f"127.0.0.1:{second}", f"127.0.0.1:{first + 1}"],
            "ps": [f"127.0.0.1:{second + 1}"],
        }
        found = [json.loads(rank.variables["TF_CONFIG"]) for task in tasks for rank in task.ranks]
        assert all(one["cluster"] == cluster and one["environment"] == "cloud" for one in found)
        assert [tuple(one["task"].values()) for one in found] == [
            ("worker", 0),
            ("worker", 2),
            ("worker", 1),
            ("ps", 0),
        ]
        assert [rank.serves for task in tasks for rank in task.ranks] == [False, False, False, True]
        names = ["std_log_process_0.txt", "std_log_process_2.txt", "std_log_process_1.txt", "std_log_process_0_ps.txt"]
        assert logs(tasks) == names

    def test_one_worker_a_node_where_nothing_is_said(self, harness: Harness) -> None:
        tasks = spread(harness, 2, distributionType="TensorFlow")
        assert [json.loads(task.variables["TF_CONFIG"])["task"]["index"] for task in tasks] == [0, 1]
        assert "ps" not in json.loads(tasks[0].variables["TF_CONFIG"])["cluster"]

    def test_a_job_ends_with_its_workers(self, harness: Harness) -> None:
        """Nobody tells a parameter server when it is no longer needed."""
        worker, server = spread(harness, 2, distributionType="TensorFlow", workerCount=1, parameterServerCount=1)
        for task in (worker, server):
            harness.engine.start(task.name)
        harness.engine.done(server.name)
        harness.settle()
        assert status(harness) == "Running" and not harness.engine.stopping
        harness.engine.finish(worker.name, 0)
        harness.settle()
        assert list(harness.engine.stopping) == [server.name] and status(harness) == "Completed"

    def test_a_server_that_fails_before_fails_the_job(self, harness: Harness) -> None:
        worker, server = spread(harness, 2, distributionType="TensorFlow", workerCount=1, parameterServerCount=1)
        harness.engine.start(worker.name)
        harness.engine.start(server.name)
        harness.engine.done(server.name)
        harness.engine.finish(server.name, 9, "the server's log")
        harness.settle()
        error = harness.row(f"{JOBS}/train-1").status["error"]
        assert status(harness) == "Failed" and "Node 1: the server's log" in error["message"]

    @pytest.mark.parametrize(
        ("nodes", "counts", "why"),
        [
            (3, {"workerCount": 1, "parameterServerCount": 1}, "fewer than the 3 nodes"),
            (1, {"workerCount": 9}, "more than 8 on each of 1 nodes"),
            (2, {"workerCount": 0}, "workerCount"),
        ],
    )
    def test_counts_that_do_not_fit(self, harness: Harness, nodes: int, counts: dict[str, int], why: str) -> None:
        target, message = refused(harness, nodes, distributionType="TensorFlow", **counts)
        assert target == "properties.distribution.workerCount" and why in message


class TestMpi:
    def test_one_mpirun_for_all_nodes(self, harness: Harness) -> None:
        tasks = spread(harness, 2, distributionType="Mpi", processCountPerInstance=2)
        one, other = (task.mpi for task in tasks)
        assert one and other and (one.node, other.node, one.processes) == (0, 1, 2)
        assert one.ports == other.ports and one.ports[0] == int(tasks[0].variables["MASTER_PORT"])
        assert len(one.secret) == 64 and one.secret == other.secret
        names = [f"std_log_process_{rank}.txt" for rank in range(4)]
        assert logs(tasks) == [*names[:2], "mpi-node-0.log", *names[2:], "mpi-node-1.log"]

    def test_each_job_has_a_secret_of_its_own_which_is_sealed(self, harness: Harness) -> None:
        compute = cluster(harness, most=2)
        for name in ("a", "b"):
            submit(harness, name, computeId=compute, distribution={"distributionType": "Mpi"})
        harness.settle()
        secrets = [task.mpi.secret for task in harness.engine.tasks.values() if task.mpi]
        assert len(set(secrets)) == 2
        assert not any(secret in harness.send("GET", f"{JOBS}/a").text for secret in secrets)
        assert not any(secret in str(harness.row(f"{JOBS}/{name}").status) for secret in secrets for name in ("a", "b"))


class TestAnOlderVersionsSecret:
    """It was in the job's status, and in the tasks of the attempt that had begun."""

    def begun(self, harness: Harness) -> Row:
        spread(harness, 2, distributionType="Mpi")
        with harness.database.write() as connection:
            row = harness.row(f"{JOBS}/train-1")
            status = {**row.status, "secret": "old", "reason": "kept"}
            connection.execute(update(resource).where(resource.c.id == row.id).values(status=json.dumps(status)))
        return harness.row(f"{JOBS}/train-1")

    def test_what_is_begun_late_has_the_same(self, harness: Harness) -> None:
        row = self.begun(harness)
        tasks = launch.tasks(harness.platform, row, JobStatus.read(row.status))
        assert [task.mpi.secret for task in tasks if task.mpi] == ["old", "old"]

    def test_it_goes_with_the_attempt(self, harness: Harness) -> None:
        row = self.begun(harness)
        for task in list(harness.engine.tasks):
            harness.engine.start(task)
            harness.engine.finish(task)
        harness.settle()
        status = harness.row(row.id).status
        assert harness.row(row.id).state == "Completed" and "secret" not in status and status["tasks"]

    def test_the_sealed_one_goes_with_the_job_and_not_before(self, harness: Harness) -> None:
        spread(harness, 2, distributionType="Mpi")
        row = harness.row(f"{JOBS}/train-1")
        with harness.database.read() as connection:
            assert harness.platform.secrets.of(connection, row.id).keys() == {"nodes"}
        for task in list(harness.engine.tasks):
            harness.engine.start(task)
            harness.engine.finish(task)
        harness.settle()
        assert harness.row(row.id).state == "Completed"
        with harness.database.read() as connection:
            assert harness.platform.secrets.of(connection, row.id) == {}

    def test_it_goes_with_a_job_that_is_canceled_between_two_attempts(self, harness: Harness) -> None:
        submit(harness)
        row = harness.row(f"{JOBS}/train-1")
        with harness.database.write() as connection:
            harness.platform.secrets.set(connection, row.id, "nodes", "sealed")
            again = {"attempt": 1, "tasks": []}  # as a parallel job's that waits for its nodes anew
            connection.execute(update(resource).where(resource.c.id == row.id).values(status=json.dumps(again)))
        harness.send("POST", f"{JOBS}/train-1/cancel")
        harness.settle()
        assert harness.row(row.id).state == "Canceled"
        with harness.database.read() as connection:
            assert harness.platform.secrets.of(connection, row.id) == {}

    def test_that_of_a_parallel_job_is_found_by_its_older_name(self, harness: Harness) -> None:
        submit(harness)
        row = harness.row(f"{JOBS}/train-1")
        with harness.database.write() as connection:
            harness.platform.secrets.set(connection, row.id, "parallel", "sealed")
        assert peers.secret(harness.platform, row, JobStatus()) == "sealed"


def words(task: TaskSpec) -> list[str]:
    """Of the node's `ray start`."""
    return task.ranks[-1].argv


class TestRay:
    def test_the_command_runs_beside_the_head_and_the_others_join(self, harness: Harness) -> None:
        head, worker = spread(harness, 2, distributionType="ray", includeDashboard=True)
        assert [(one.argv, one.serves) for one in head.ranks[:1]] == [([], False)]
        assert [one.serves for one in (head.ranks[1], *worker.ranks)] == [True, True] and len(worker.ranks) == 1
        first = int(head.variables["MASTER_PORT"])
        assert words(head)[:6] == [
            "ray",
            "start",
            "--head",
            f"--port={first}",
            "--include-dashboard=True",
            f"--dashboard-port={first + 1}",
        ]
        address = f"127.0.0.2:{first}"
        assert words(worker)[:4] == ["ray", "start", f"--address={address}", "--node-ip-address=127.0.0.3"]
        for task in (head, worker):
            assert task.ray and (task.ray.address, task.ray.nodes) == (address, 2)
            assert task.variables["RAY_ADDRESS"] == address == task.variables["AZ_BATCH_MASTER_NODE"]
            assert task.variables["RAY_AUTH_TOKEN"] and task.command == "run"
        assert [task.variables["RANK"] for task in (head, worker)] == ["0", "1"]
        assert logs([head, worker]) == ["std_log.txt", "ray-node-0.log", "ray-node-1.log"]

    def test_no_port_is_anothers(self, harness: Harness) -> None:
        compute = cluster(harness, most=8)
        for name in ("a", "b"):
            submit(
                harness,
                name,
                computeId=compute,
                resources={"instanceCount": 2},
                distribution={"distributionType": "Ray", "port": 6379, "dashboardPort": 8265},
            )
        harness.settle()
        found = [one for task in harness.engine.tasks.values() for one in words(task) if "port=" in one]
        ports = [port for one in found if (port := int(one.partition("=")[2]))]
        assert len(ports) == len(set(ports)) == 2 * (8 + 5)
        assert {one.partition("=")[0] for one in found if one.endswith("=0")} == {
            "--object-manager-port",
            "--min-worker-port",
            "--max-worker-port",
        }

    def test_what_is_added_comes_last(self, harness: Harness) -> None:
        more = {"headNodeAdditionalArgs": "--head --num-cpus 3", "workerNodeAdditionalArgs": "--resources='{\"a\": 1}'"}
        head, worker = spread(harness, 2, distributionType="Ray", **more)
        assert words(head)[-3:] == ["--head", "--num-cpus", "3"] and words(worker)[-1] == '--resources={"a": 1}'
        assert "--include-dashboard=False" in words(head)

    def test_ray_is_told_what_a_node_has_by_its_size(self, harness: Harness) -> None:
        harness.engine.fit(gpus=4)
        submit(
            harness,
            resources={"instanceCount": 1, "instanceType": "Standard_NC12s_v3"},
            distribution={"distributionType": "Ray"},
        )
        harness.settle()
        (task,) = harness.engine.tasks.values()
        assert "--num-gpus=2" in words(task) and any(one.startswith("--num-cpus=") for one in words(task))

    def test_the_job_ends_with_its_command(self, harness: Harness) -> None:
        head, worker = spread(harness, 2, distributionType="Ray")
        for task in (head, worker):
            harness.engine.start(task.name)
        harness.engine.done(worker.name)
        harness.settle()
        assert status(harness) == "Running" and not harness.engine.stopping
        harness.engine.done(head.name)
        harness.settle()
        assert set(harness.engine.stopping) == {head.name, worker.name} and status(harness) == "Completed"

    def test_a_node_that_ends_before_fails_the_job(self, harness: Harness) -> None:
        head, worker = spread(harness, 2, distributionType="Ray")
        for task in (head, worker):
            harness.engine.start(task.name)
        harness.engine.done(worker.name)
        harness.engine.finish(worker.name, 1, "see 'system_logs/ray-node-1.log'")
        harness.settle()
        error = harness.row(f"{JOBS}/train-1").status["error"]
        assert status(harness) == "Failed" and error["message"] == "Node 1: see 'system_logs/ray-node-1.log'"


def test_all_nodes_end_with_the_first_that_fails_and_it_is_named(harness: Harness) -> None:
    tasks = spread(harness, 3, distributionType="PyTorch", processCountPerInstance=2)
    for task in tasks:
        harness.engine.start(task.name)
    harness.engine.finish(tasks[1].name, 3, "see 'user_logs/std_log_process_2.txt'")
    harness.settle()
    assert sorted(harness.engine.stopping) == [tasks[0].name, tasks[2].name]
    error = harness.row(f"{JOBS}/train-1").status["error"]
    assert status(harness) == "Failed" and error["message"] == "Node 1: see 'user_logs/std_log_process_2.txt'"


@pytest.mark.parametrize(
    ("distribution", "field", "why"),
    [
        ({"distributionType": "PyTorhc"}, "distributionType", "Did you mean 'PyTorch'"),
        ({"distributionType": "PyTorch", "processCountPerInstance": 0}, "processCountPerInstance", "1"),
        ({"distributionType": "Mpi", "processCountPerInstance": 257}, "processCountPerInstance", "256"),
        ({"distributionType": "Ray", "port": 70000}, "port", "65535"),
        ({"distributionType": "Ray", "includeDashboard": "perhaps"}, "includeDashboard", "bool"),
        ({"distributionType": "Ray", "address": "10.0.0.4:6379"}, "address", "first node"),
        ({"distributionType": "Ray", "headNodeAdditionalArgs": "--a 'b"}, "headNodeAdditionalArgs", "quotation"),
        ({"distributionType": "Ray", "headNodeAdditionalArgs": "a\0b"}, "headNodeAdditionalArgs", "cannot stand"),
        (
            {"distributionType": "Ray", "headNodeAdditionalArgs": "--labels=a=${{inputs.x}}"},
            "headNodeAdditionalArgs",
            "${{",
        ),
        (
            {"distributionType": "Ray", "workerNodeAdditionalArgs": "$[[--labels=a]]"},
            "workerNodeAdditionalArgs",
            "$[[",
        ),
        ({"distributionType": "Ray", "headNodeAdditionalArgs": "--port 6379"}, "headNodeAdditionalArgs", "--port"),
        (
            {"distributionType": "Ray", "workerNodeAdditionalArgs": "--max-worker-port=9"},
            "workerNodeAdditionalArgs",
            "max-worker-port",
        ),
        ({"distributionType": "Ray", "workerNodeAdditionalArgs": "--head"}, "workerNodeAdditionalArgs", "--head"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(
    harness: Harness, distribution: dict[str, Any], field: str, why: str
) -> None:
    target, message = refused(harness, **distribution)
    assert target == f"properties.distribution.{field}" and why in message


def test_nodes_that_cannot_reach_each_other_are_refused(harness: Harness) -> None:
    harness.engine.isolated = Isolation("network")
    target, message = refused(harness, 2, distributionType="PyTorch")
    assert target == "properties.distribution" and "isolation" in message
    assert len(spread(harness, 1, distributionType="PyTorch", processCountPerInstance=2)) == 1


def test_a_sweeps_trials_are_spread_too(harness: Harness) -> None:
    spread = {"distributionType": "PyTorch", "processCountPerInstance": 2}
    trial = {**sweeps.TRIAL, "resources": {"instanceCount": 2}, "distribution": spread}
    compute = cluster(harness, most=8)
    assert sweeps.sweep(harness, trials=1, at_once=1, trial=trial, computeId=compute).status_code == 201
    harness.settle()
    assert [len(task.ranks) for task in harness.engine.tasks.values()] == [2, 2]
    wrong = {**trial, "distribution": {"distributionType": "PyTorhc"}}
    error = sweeps.sweep(harness, "other", trial=wrong, computeId=compute).json()["error"]
    assert error["target"] == "properties.trial.distribution.distributionType"
