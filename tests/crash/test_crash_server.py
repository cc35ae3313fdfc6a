"""`kill -9` of the server, and of everything: jobs go on and end exactly once, and nothing half-made is visible."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import requests

from live.marks import Marks
from live.patience import ANSWER_S, PATIENCE_S
from live.platform import HOME, Platform, eventually
from live.processes import command_of
from live.tokens import container_sas
from smalt.settings import STORAGE_SUFFIX

pytestmark = pytest.mark.e2e
ONE = f"{HOME}/computes/one"


@pytest.fixture
def cluster(platform: Platform) -> str:
    """One node at most, so that a second job waits."""
    platform.put(
        "computes/one",
        {
            "computeType": "AmlCompute",
            "properties": {"vmSize": "Standard_DS3_v2", "scaleSettings": {"maxNodeCount": 1, "minNodeCount": 0}},
        },
        location="local",
    )
    return ONE


def test_a_running_job_goes_on_and_ends_once(platform: Platform) -> None:
    marks = Marks(platform.shared())
    platform.submit("run-on", marks.command)
    marks.wait_until_running(platform, "run-on")
    platform.restarted("server", platform.kill("server"))
    platform.wait_until_it_answers()
    assert platform.job("run-on")["status"] == "Running"
    marks.assert_once(platform, "run-on")


def test_a_job_that_ends_while_the_server_is_away_is_noticed(platform: Platform) -> None:
    marks = Marks(platform.shared())
    platform.submit("end-alone", marks.command)
    marks.wait_until_running(platform, "end-alone")
    os.kill(platform.pid("supervisor"), signal.SIGSTOP)  # so that nobody starts the server again yet
    try:
        platform.kill("server")
        marks.release()
        eventually(lambda: marks.lines == ["began", "ended"], "the job's end")
    finally:
        os.kill(platform.pid("supervisor"), signal.SIGCONT)
    platform.wait_until_it_answers()
    marks.assert_once(platform, "end-alone")


def test_queued_jobs_keep_their_order(platform: Platform, cluster: str) -> None:
    first, order = Marks(platform.shared()), platform.shared() / "order"
    platform.submit("holds", first.command, computeId=cluster)
    first.wait_until_running(platform, "holds")
    for name in ("waits-a", "waits-b"):
        platform.submit(name, f"echo {name} >> {order}", computeId=cluster)
        platform.wait_for(name, "Queued")
    platform.restarted("server", platform.kill("server"))
    platform.wait_until_it_answers()
    assert [platform.job(name)["status"] for name in ("waits-a", "waits-b")] == ["Queued", "Queued"]
    first.assert_once(platform, "holds")
    platform.wait_for("waits-b", "Completed")
    assert order.read_text().split() == ["waits-a", "waits-b"]


def test_jobs_submitted_through_many_kills_run_once_each(platform: Platform) -> None:
    """Kills at arbitrary moments between submission and end; what was acknowledged happens, and happens once."""
    platform.kill_all()
    platform.up()  # a supervisor that has not counted the deaths before these: else it waits ever longer
    ran = platform.shared() / "ran"
    names = [f"storm-{number}" for number in range(5)]
    for number, name in enumerate(names):
        assert platform.submit(name, f"echo {name} >> {ran}; sleep 0.1").status_code == 201
        began = time.monotonic()
        eventually(lambda began=began, number=number: time.monotonic() - began >= number * 0.1, "the moment", 5, 0.01)
        platform.restarted("server", platform.kill("server"))
        platform.wait_until_it_answers()
    for name in names:
        platform.wait_for(name, "Completed")
    assert sorted(ran.read_text().split()) == sorted(names)


class SlowLine:
    """A body that flows fast up to a point, and slowly after it."""

    def __init__(self, size: int, slow_after: int) -> None:
        self.size, self.sent, self.slow_after = size, 0, slow_after
        self.flowing = threading.Event()

    def __len__(self) -> int:
        return self.size

    def read(self, most: int) -> bytes:
        if self.sent >= self.slow_after:
            self.flowing.set()
            time.sleep(0.005)
        piece = b"x" * min(most, self.size - self.sent)
        self.sent += len(piece)
        return piece


def test_an_upload_that_is_cut_off_leaves_nothing(platform: Platform) -> None:
    keys = platform.call("POST", "listKeys").json()
    account = keys["userStorageResourceId"].rpartition("/")[2]
    container = platform.get("datastores/workspaceblobstore")["properties"]["containerName"]
    sas = container_sas(account, keys["userStorageKey"], container)
    url = f"{platform.url}/{account}.blob.{STORAGE_SUFFIX}/{container}/big.bin"
    headers = {"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}
    line, outcome = SlowLine(256 * 2**20, slow_after=64 * 2**20), []

    def upload() -> None:
        try:
            answer = requests.put(f"{url}?{sas}", data=line, headers=headers, verify=platform.ca, timeout=ANSWER_S)
            outcome.append(answer.status_code)
        except requests.RequestException as error:
            outcome.append(type(error).__name__)

    sender = threading.Thread(target=upload)
    sender.start()
    assert line.flowing.wait(PATIENCE_S), outcome
    platform.restarted("server", platform.kill("server"))
    sender.join(PATIENCE_S)
    assert outcome and outcome[0] != 201, outcome
    platform.wait_until_it_answers()
    version = {"x-ms-version": "2021-12-02"}
    assert requests.get(f"{url}?{sas}", headers=version, verify=platform.ca, timeout=ANSWER_S).status_code == 404
    listed = requests.get(
        f"{url.rpartition('/')[0]}?restype=container&comp=list&{sas}",
        headers=version,
        verify=platform.ca,
        timeout=ANSWER_S,
    )
    assert listed.ok and "big.bin" not in listed.text
    again = requests.put(f"{url}?{sas}", data=b"whole", headers=headers, verify=platform.ca, timeout=ANSWER_S)
    assert again.status_code == 201
    assert requests.get(f"{url}?{sas}", headers=version, verify=platform.ca, timeout=ANSWER_S).content == b"whole"
    kept = [path for path in platform.files("blobs") if ".staging" not in path.parts]  # which is swept by and by
    large = [path for path in kept if path.stat().st_size > 2**20]
    assert not large, large


def test_everything_at_once(platform: Platform) -> None:
    marks, alone = Marks(platform.shared()), Marks(platform.shared())
    platform.submit("survives", marks.command)
    platform.submit("ends-meanwhile", alone.command)
    marks.wait_until_running(platform, "survives")
    alone.wait_until_running(platform, "ends-meanwhile")
    platform.kill_all()
    alone.release()
    eventually(lambda: alone.lines == ["began", "ended"], "the job that ends without a platform")
    began = time.monotonic()
    platform.up()
    print(f"up again in {time.monotonic() - began:.2f} s")
    marks.assert_once(platform, "survives")
    alone.assert_once(platform, "ends-meanwhile")


def test_a_second_up_does_nothing_and_another_port_is_refused(platform: Platform) -> None:
    before = {one["name"]: one["pid"] for one in platform.status()["processes"]}
    again = platform.smalt("up", "--port", str(platform.port), "--detach")
    assert again.returncode == 0 and "already running" in again.stdout, again.stdout + again.stderr
    elsewhere = platform.smalt("up", "--port", str(platform.port + 1), "--detach")
    assert elsewhere.returncode == 1 and "already runs" in elsewhere.stderr, elsewhere.stdout + elsewhere.stderr
    assert {one["name"]: one["pid"] for one in platform.status()["processes"]} == before


def test_two_ups_at_the_same_moment_make_one_platform(tmp_path: Path) -> None:
    with_two = Platform(tmp_path / "two")
    outcomes: list[int] = []

    def start() -> None:
        outcomes.append(with_two.smalt("up", "--port", str(with_two.port), "--detach").returncode)

    try:
        threads = [threading.Thread(target=start) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == [0, 0, 0]
        servers = [one for one in with_two.processes() if "smalt.start" in command_of(one.pid)]
        assert len(servers) == 1, servers
        assert with_two.get("")["name"] == "default"
    finally:
        with_two.end()
