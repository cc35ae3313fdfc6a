"""The log of a job is live: how soon a line is seen. Nothing else may run meanwhile."""

import contextlib
import io
import time

import requests
from azure.ai.ml import command
from azure.ai.ml.entities import Environment
from session import PLAIN_IMAGE, connect, ended, scratch, step, unique, until

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"bare-{unique}", image=PLAIN_IMAGE))


def run(text, **more):
    return ml.jobs.create_or_update(command(command=text, environment=f"azureml:{plain.name}:{plain.version}", **more))


def seen_late_s(job, text, log="user_logs/std_log.txt"):
    """Seconds between a line's print (`TEXT TIME`) and its being there for who reads the log's address."""

    def address():
        return (ml.jobs._runs_operations.get_run_details(job.name).log_files or {}).get(log)

    def line():
        body = requests.get(found, timeout=90).text
        return text + " " in body and body.split(text + " ")[1].split("\n")[0]

    found = until(address, f"{log} of {job.name}", pause_s=0.02)
    return -float(until(line, f"{text} in {log}", pause_s=0.02)) + time.time()


ml.jobs.stream(run("true").name)  # the environment is built, and the client has imported what it reads logs with

with step("the log is live: a line is there within a second of its print"):
    source = scratch / "live"
    source.mkdir()
    (source / "live.py").write_text(
        "import sys, time, pathlib\nprint('first', flush=True)\ntime.sleep(2)\n"
        "print(f'printed {time.time()}', flush=True)\ntime.sleep(3)\nprint('last')\n"
    )
    late = []
    while not late or (late[-1] >= 1 and len(late) < 5):  # again, where the machine stood still
        job = run("python live.py", code=str(source))
        late.append(seen_late_s(job, "printed"))
        print(f"   {late[-1]:.2f} s after the print")
    assert min(late) < 1, late
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ml.jobs.stream(job.name)
    lines = [line.partition(" ")[0] for line in said.getvalue().splitlines()]  # a job's name may be orange_plastic_…
    assert [lines.count(word) for word in ("first", "printed", "last")] == [1, 1, 1], said.getvalue()
    assert ended(ml, job.name).status == "Completed"

print("PASSED")
