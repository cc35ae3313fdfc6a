"""For a person at a terminal, on a real platform: logs that are followed, the queue, a shell in a job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from live.clients import clean_environment
from live.files import text_of
from live.patience import ANSWER_S, PATIENCE_S
from live.platform import HOME, Platform, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")).started() as one:
        scale = {"minNodeCount": 0, "maxNodeCount": 1}
        machine = {"vmSize": "Standard_DS3_v2", "scaleSettings": scale}
        one.put("computes/single", {"computeType": "AmlCompute", "properties": machine}, location="local")
        yield one


def begin(platform: Platform, *arguments: str, errors: Path = Path(os.devnull)) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "smalt.cli", arguments[0], "--root", str(platform.root), *arguments[1:]]
    with errors.open("w") as told:
        return subprocess.Popen(
            command, env=clean_environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told
        )


def test_a_log_is_followed_from_the_queue_to_the_end_and_says_how_it_ended(platform: Platform, tmp_path: Path) -> None:
    gate = platform.shared() / "gate"
    waiting = f"until [ -e {gate} ]; do sleep 0.1; done"
    compute = f"{HOME}/computes/single"
    platform.submit("holds", f"echo begun; {waiting}; echo over", computeId=compute)
    platform.wait_for("holds", "Running")
    platform.submit("follows", "echo first; echo last; exit 3", computeId=compute)
    platform.wait_for("follows", "Queued")
    heard = tmp_path / "heard"
    following = begin(platform, "logs", "follows", "--follow", errors=heard)
    (queue,) = json.loads(platform.smalt("top", "--json").stdout)
    assert [one["job"] for one in queue["nodes"]] == ["holds"]
    assert [(one["position"], one["job"]) for one in queue["jobs"]] == [(1, "follows")]
    assert "follows" in platform.smalt("top").stdout
    eventually(lambda: platform.smalt("logs", "holds").stdout == "begun\n", "the first line")
    eventually(lambda: "place 1 in the queue" in text_of(heard), "who follows to be told the place")
    gate.touch()
    said, told = following.communicate(timeout=PATIENCE_S)[0], text_of(heard)
    assert (said, following.returncode) == ("first\nlast\n", 1)
    assert "exited with status code 3" in told
    eventually(lambda: platform.job("holds")["status"] == "Completed", "the end of the first")
    assert platform.smalt("logs", "holds", "--follow").stdout == "begun\nover\n"


def test_what_cannot_be_shown_is_one_line(platform: Platform) -> None:
    platform.submit("single", "true")
    for arguments, why in ((("logs", "nobody"), "was not found"), (("logs", "single", "--node", "1"), "has 1 node")):
        done = platform.smalt(*arguments)
        assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr


def test_a_visit_is_inside_of_the_job_and_in_the_feed(platform: Platform) -> None:
    told = "readlink /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/ipc /proc/self/ns/uts; id -u"
    platform.submit("visited", f"({told}) > outputs/place; echo begun; sleep 600")
    eventually(lambda: platform.job_log("visited") == "begun\n", "the job's first line")
    inside = connect(platform, "visited", "bash", "-c", f"{told}; exit 7")
    assert inside.returncode == 7, inside.stderr
    assert inside.stdout == connect(platform, "visited", "cat", "outputs/place").stdout
    assert inside.stdout.splitlines()[0] != str(Path("/proc/self/ns/mnt").readlink())
    for hidden in ("secrets/keyring.json", "smalt.db", "config.json"):
        assert (platform.root / hidden).exists()
        assert connect(platform, "visited", "cat", str(platform.root / hidden)).returncode == 1
    assert connect(platform, "visited", "tr", "a-z", "A-Z", typed="shout\n").stdout == "SHOUT\n"
    changes = platform.get("jobs/visited/changes?what=connected")["value"]
    assert changes[0]["reason"] == "node 0" and changes[0]["actor"] != "smalt"
    left = begin(platform, "connect", "visited", "--", "bash", "-c", "echo in; sleep 600")
    assert left.stdout is not None and left.stdout.readline() == "in\n"
    platform.call("POST", "jobs/visited/cancel")
    assert left.wait(timeout=PATIENCE_S) != 0
    platform.wait_for("visited", "Canceled")
    ended = connect(platform, "visited", "true")
    assert ended.returncode == 1 and "is Canceled" in ended.stderr


def test_a_failed_job_that_is_held_can_be_looked_at(platform: Platform) -> None:
    platform.submit("held", "echo evidence > found; exit 3", properties={"smalt.hold": "PT1H"})
    eventually(lambda: "are kept for" in platform.job_log("held", "system_logs/node.log"), "the hold")
    eventually(lambda: "smalt.held_until" in platform.job("held")["properties"], "what the job says of it")
    assert connect(platform, "held", "cat", "found").stdout == "evidence\n"
    platform.call("POST", "jobs/held/cancel")
    eventually(lambda: platform.job("held")["status"] == "Failed", "the job's end")
    assert "status code 3" in platform.job_error("held")
    refused = platform.submit("wrong", "true", properties={"smalt.hold": "an hour"})
    assert refused.status_code == 400 and "smalt.hold" in refused.text


def test_a_job_connects_to_no_job(platform: Platform) -> None:
    """Its token may write jobs of its workspace; what others have in their variables is not its to see."""
    platform.submit("other", "echo begun; sleep 600")
    eventually(lambda: platform.job_log("other") == "begun\n", "the job's first line")
    token = connect(platform, "other", "printenv", "AZUREML_RUN_TOKEN").stdout.strip()
    answer = requests.post(
        f"{platform.url}/connect/v1{HOME}/jobs/other/nodes/0",
        data=b'{"argv": ["id"]}\n',
        verify=platform.ca,
        headers={"Authorization": f"Bearer {token}"},
        timeout=ANSWER_S,
    )
    assert answer.status_code == 403
    for path, status in (("jobs/none/nodes/0", 404), ("jobs/other/nodes/1", 400), ("jobs/other", 404)):
        owner = {"Authorization": f"Bearer {platform.token()}"}
        wrong = requests.post(
            f"{platform.url}/connect/v1{HOME}/{path}", data=b"{}\n", headers=owner, verify=platform.ca, timeout=ANSWER_S
        )
        assert wrong.status_code == status and wrong.json()["error"]["message"], path
    nonsense = requests.post(
        f"{platform.url}/connect/v1{HOME}/jobs/other/nodes/0",
        data=b"[1]\n",
        verify=platform.ca,
        timeout=ANSWER_S,
        headers={"Authorization": f"Bearer {platform.token()}"},
    )
    assert nonsense.status_code == 400
    platform.call("POST", "jobs/other/cancel")


def connect(platform: Platform, job: str, *command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "smalt.cli", "connect", "--root", str(platform.root), job, "--", *command]
    return subprocess.run(
        words, env=clean_environment(), input=typed, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_a_job_runs_again_from_the_same_bits_or_says_what_has_changed(platform: Platform) -> None:
    folder = {"jobInputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/bits/"}
    output = {"jobOutputType": "uri_folder", "uri": folder["uri"], "mode": "ReadWriteMount"}
    platform.submit("bits", "echo 1 > ${{outputs.o}}/a.csv", outputs={"o": output})
    platform.wait_for("bits", "Completed")
    rate = {"jobInputType": "literal", "value": "0.1"}
    platform.submit(
        "read",
        "cat ${{inputs.data}}/a.csv; echo ${{inputs.rate}}",
        inputs={"data": folder, "rate": rate},
        outputs={"made": {"jobOutputType": "uri_folder"}},
    )
    platform.wait_for("read", "Completed")
    again = platform.smalt("rerun", "read", "--name", "again")
    assert (again.returncode, again.stdout) == (0, "again\n"), again.stderr
    platform.wait_for("again", "Completed")
    assert platform.job_log("again") == platform.job_log("read") == "1\n0.1\n"
    made = [
        platform.call("GET", f"jobs/{job}").json()["properties"]["outputs"]["made"]["uri"] for job in ("read", "again")
    ]
    assert "/read/" in made[0] and made[1] == made[0].replace("/read/", "/again/"), "it wrote over what the first made"
    same = platform.smalt("diff", "read", "again")
    assert same.returncode == 0, same.stdout
    platform.submit("bits-2", "echo 22 > ${{outputs.o}}/a.csv", outputs={"o": output})
    platform.wait_for("bits-2", "Completed")
    refused = platform.smalt("rerun", "read", "--name", "third")
    assert refused.returncode == 1 and "changed a.csv" in refused.stderr and "--changed-ok" in refused.stderr
    assert platform.call("GET", "jobs/third").status_code == 404
    assert platform.smalt("rerun", "read", "--name", "third", "--changed-ok").returncode == 0
    platform.wait_for("third", "Completed")
    differ = json.loads(platform.smalt("diff", "read", "third", "--json").stdout)
    assert "inputs.data.content.digest" in differ and "command" not in differ
