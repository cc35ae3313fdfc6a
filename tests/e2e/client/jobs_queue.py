"""Jobs among others: a Spot job gives way and goes on, priorities, two distributed jobs at once."""

from azure.ai.ml import Output, command
from azure.ai.ml.entities import AmlCompute, Environment
from session import CURATED, PLAIN_IMAGE, completed, connect, refused, scratch, step, unique, until

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"


def run(text, **more):
    return ml.jobs.create_or_update(command(command=text, **{"environment": environment, **more}))


def status(job):
    return ml.jobs.get(job.name).status


def log_of(job, name="std_log.txt"):
    target = scratch / f"log-{job.name}"
    ml.jobs.download(job.name, download_path=str(target), all=True)
    return {one.name: one.read_text() for one in target.rglob("*") if one.is_file()}[name]


CHECKPOINTED = (
    "trap 'echo 7 > ${{outputs.state}}/step; exit 1' TERM; echo begun;"
    " if [ -f ${{outputs.state}}/step ]; then echo went on at step $(cat ${{outputs.state}}/step); exit 0; fi;"
    " while true; do sleep 0.1; done"
)

with step("Spot jobs on all nodes; one that is not preempts the youngest, which goes on from its checkpoint"):
    spot = []
    while len(spot) < 64 and (not spot or status(spot[-1]) != "Queued"):
        spot.append(run(CHECKPOINTED, job_tier="spot", outputs={"state": Output(type="uri_folder")}))
        until(lambda: status(spot[-1]) in ("Running", "Queued"), f"{spot[-1].name} runs or waits", pause_s=0.2)
    *running, waiting = spot
    ml.jobs.begin_cancel(waiting.name).result()
    urgent = completed(ml, run("echo first").name)
    youngest = completed(ml, running[-1].name)
    assert urgent.status == "Completed" and youngest.queue_settings.job_tier == "spot"
    said = log_of(youngest)
    assert said.count("begun") == 2 and "went on at step 7" in said, said
    assert [status(one) for one in running[:-1]] == ["Running"] * (len(running) - 1)
    for one in running[:-1]:
        ml.jobs.begin_cancel(one.name).result()

with step("of those that wait the higher priority is served first"):
    cluster = f"one-{unique}"
    ml.compute.begin_create_or_update(
        AmlCompute(name=cluster, size="Standard_DS3_v2", min_instances=0, max_instances=1)
    ).result()
    first = run(
        "while ! [ -f ${{outputs.go}}/go ]; do sleep 0.1; done",
        compute=cluster,
        outputs={"go": Output(type="uri_folder", path=f"azureml://datastores/workspaceblobstore/paths/{unique}/")},
    )
    until(lambda: status(first) == "Running", "the first runs")
    jobs = {one: run("date +%s.%N", compute=cluster, priority=one) for one in ("low", "medium", "high")}
    until(lambda: {status(one) for one in jobs.values()} == {"Queued"}, "the others wait")
    ml.jobs.begin_cancel(first.name).result()
    times = {one: float(log_of(completed(ml, job.name))) for one, job in jobs.items()}
    assert times["high"] < times["medium"] < times["low"], times

with step("a job that waits is given another priority, and one that has its node is not"):
    first = run(
        "while ! [ -f ${{outputs.go}}/on ]; do sleep 0.1; done",
        compute=cluster,
        outputs={"go": Output(type="uri_folder", path=f"azureml://datastores/workspaceblobstore/paths/{unique}/")},
    )
    until(lambda: status(first) == "Running", "the first runs")
    found = [vars(one) for one in ml.compute.list_usage()]  # 1.35.2 names the value as the service does
    used = {one["name"]["value"]: one.get("currentValue", one.get("current_value")) for one in found}
    assert used["standardDSv2Family"] == 4, used
    before, after = (run("date +%s.%N", compute=cluster, priority="low") for _ in range(2))
    until(lambda: {status(before), status(after)} == {"Queued"}, "both wait")
    # Of a job that it has read 1.35.2 sends what describes it alone: so the job is submitted again, by its name.
    changed = run("date +%s.%N", compute=cluster, priority="high", name=after.name)
    assert changed.queue_settings.priority.lower() == "high", changed.queue_settings
    with refused("computeId cannot change", status=409):
        run("date +%s.%N", compute="serverless", priority="high", name=after.name)
    ml.jobs.begin_cancel(first.name).result()
    assert float(log_of(completed(ml, after.name))) < float(log_of(completed(ml, before.name)))

with step("two distributed jobs at once meet their own peers alone"):
    pair = f"pair-{unique}"
    ml.compute.begin_create_or_update(
        AmlCompute(name=pair, size="Standard_DS3_v2", min_instances=0, max_instances=4)
    ).result()
    source = scratch / "meet"
    source.mkdir()
    (source / "meet.py").write_text(
        "import os, socket, time\n"
        "at = (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))\n"
        "own = os.environ['AZUREML_RUN_ID'].encode()\n"
        "if os.environ['NODE_RANK'] == '0':\n"
        "    with socket.create_server(at) as server:\n"
        "        server.settimeout(60)\n"
        "        peer, _ = server.accept()\n"
        "        peer.sendall(own)\n"
        "        assert peer.recv(1000) == own\n"
        "else:\n"
        "    end = time.monotonic() + 60\n"
        "    while True:\n"
        "        try:\n"
        "            peer = socket.create_connection(at, 60)\n"
        "            break\n"
        "        except ConnectionRefusedError:\n"
        "            assert time.monotonic() < end\n"
        "            time.sleep(0.05)\n"
        "    assert peer.recv(1000) == own\n"
        "    peer.sendall(own)\n"
        "print('met')\n"
    )
    more = {
        "code": str(source),
        "environment": CURATED,
        "compute": pair,
        "instance_count": 2,
        "distribution": {"type": "pytorch", "process_count_per_instance": 1},
    }
    both = [run("python meet.py", **more) for _ in range(2)]
    for job in both:
        completed(ml, job.name, timeout_s=300)
        assert "met" in log_of(job, "std_log_process_0.txt")

print("PASSED")
