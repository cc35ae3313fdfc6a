"""A cluster of two machines: jobs whose nodes are both of them, and find each other."""

import socket
import sys
from pathlib import Path

from azure.ai.ml import Input, Output, PyTorchDistribution, command, dsl
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import Environment
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from session import PLAIN_IMAGE, completed, connect, ended, scratch, step, unique

cluster, *addresses = sys.argv[1:]
ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"
source = scratch / "src"
source.mkdir()
(source / "train.py").write_text(
    """
import os, pathlib, socket, sys, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
at = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    with socket.create_server(at) as server:
        peers = [server.accept()[0].makefile("rw") for _ in range(world - 1)]
    total = 1 + sum(int(one.readline()) for one in peers)
    for one in peers:
        print(total, file=one, flush=True)
else:
    while True:
        try:
            peer = socket.create_connection(at, 5).makefile("rw")
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
    print(rank + 1, file=peer, flush=True)
    total = int(peer.readline())
name = socket.gethostname()
print("sum", total, "node", os.environ["NODE_RANK"], name, socket.gethostbyname(name), "master", at[0], flush=True)
pathlib.Path(sys.argv[1], f"rank-{rank}.txt").write_text(str(total))
sys.exit(int(os.environ.get("FAILS", "-1")) == rank)
"""
)


def train(**variables):
    return ml.jobs.create_or_update(
        command(
            command="python train.py ${{outputs.out}}",
            code=str(source),
            environment=environment,
            compute=cluster,
            instance_count=2,
            distribution=PyTorchDistribution(process_count_per_instance=2),
            outputs={"out": Output(type=AssetTypes.URI_FOLDER)},
            environment_variables=variables,
        )
    ).name


def left_by(name):
    ml.jobs.download(name, download_path=str(scratch / name), all=True)
    return {one.name: one.read_text() for one in (scratch / name).rglob("*") if one.is_file()}


with step("four ranks on two machines"):
    left = left_by(completed(ml, train()).name)
    said = [left[f"std_log_process_{rank}.txt"].split() for rank in range(4)]
    assert [one[1] for one in said] == ["10"] * 4 and [one[3] for one in said] == ["0", "0", "1", "1"], said
    assert {one[-1] for one in said} == {addresses[0]}, said
    names = {one[4]: one[5] for one in said}
    if socket.gethostname() not in names:  # behind walls that give each node a name
        assert list(names.values()) == addresses, names
    assert [left[f"rank-{rank}.txt"] for rank in range(4)] == ["10"] * 4, "the outputs of both are one"
    assert {"20_image_build_log.txt", "20_image_build_log_node-1.txt"} <= left.keys(), left.keys()

with step("one that fails ends all, and is named"):
    name = train(FAILS="3")
    assert ended(ml, name).status == "Failed"
    error = ml.jobs._runs_operations.get_run_details(name).error.error.message
    assert "Node 1" in error and "std_log_process_3.txt" in error, error

with step("a parallel job on both"):
    (source / "count.py").write_text("def run(batch):\n    return [f'{open(one).read()}' for one in batch]\n")
    many = scratch / "many"
    many.mkdir()
    for at in range(20):
        (many / f"{at:02}.txt").write_text(f"row {at:02}")
    count = parallel_run_function(
        name="count",
        inputs={"files": Input(type=AssetTypes.URI_FOLDER)},
        outputs={"rows": Output(type=AssetTypes.URI_FILE)},
        input_data="${{inputs.files}}",
        instance_count=2,
        max_concurrency_per_instance=1,
        mini_batch_size="1",
        task=RunFunction(
            code=str(source), entry_script="count.py", environment=environment, append_row_to="${{outputs.rows}}"
        ),
    )

    @dsl.pipeline(compute=cluster)
    def counting(files):
        return {"rows": count(files=files).outputs.rows}

    name = completed(
        ml, ml.jobs.create_or_update(counting(Input(type=AssetTypes.URI_FOLDER, path=str(many)))).name
    ).name
    ml.jobs.download(name, download_path=scratch / "rows", output_name="rows")
    rows = next(one for one in Path(scratch / "rows").rglob("*") if one.is_file()).read_text().splitlines()
    assert sorted(rows) == [f"row {at:02}" for at in range(20)], rows

print("PASSED")
