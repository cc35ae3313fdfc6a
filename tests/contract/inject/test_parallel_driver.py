"""The driver of parallel jobs as it runs on nodes: real processes, which are killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from live.patience import PATIENCE_S
from live.ports import free_port
from smalt.agent.parallel import START

FILES = 40
ECHO = """
def run(mini_batch):
    return [one.rsplit("/", 1)[-1] for one in mini_batch]
"""


TOGETHER = """
import re, time
from pathlib import Path
def run(mini_batch):
    place, _, name = mini_batch[0].rpartition("/")
    Path(place.replace("/seen-", "/came-")).touch()
    while not all(Path(re.sub("/seen-[0-9]+$", f"/came-{node}", place)).exists() for node in range(2)):
        time.sleep(0.01)
    time.sleep(0.05)
    return [name]
"""  # no node begins alone: on a slow machine, it would have done all before the other is there


class Site:
    """A folder with an input of files, and drivers that work on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs = folder, folder / "work" / "logs"
        (folder / "work").mkdir()
        (folder / "in").mkdir()
        for at in range(FILES):
            (folder / "in" / f"f{at:03}").write_text(str(at))
        self.running: list[subprocess.Popen[str]] = []
        self._port = free_port()

    def start(self, script: str, rank: int = 0, **more: Any) -> subprocess.Popen[str]:
        (self.folder / "work" / "entry.py").write_text(script)
        said = {
            "script": str(self.folder / "work" / "entry.py"),
            "input": str(self.folder / "in"),
            "logs": str(self.logs),
            "append_to": str(self.folder / "rows.txt"),
            "size": 1,
            "slots": 2,
            "rank": rank,
            "secret": "s",
            "meet": f"127.0.0.1:{self._port}",
            **more,
        }
        here = self.folder / f"seen-{len(self.running)}"  # each node and each attempt sees the input at another place
        here.symlink_to(self.folder / "in")
        said = {**said, "input": more.get("input", str(here))}
        config = self.folder / f"config-{rank}.json"
        config.write_text(json.dumps(said))
        process = subprocess.Popen(
            [sys.executable, str(START), "run", str(config)],
            cwd=self.folder / "work",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.running.append(process)
        return process

    def run(self, script: str, **more: Any) -> tuple[int, str]:
        """The exit code, and the last line of stderr."""
        process = self.start(script, **more)
        _, said = process.communicate(timeout=PATIENCE_S)
        return process.returncode, said.strip().rsplit("\n", 1)[-1]

    @property
    def rows(self) -> list[str]:
        return (self.folder / "rows.txt").read_text().splitlines()

    def log(self, name: str) -> str:
        return (self.logs / name).read_text()

    def close(self) -> None:
        for one in self.running:
            if one.poll() is None:
                os.kill(one.pid, signal.SIGTERM)
                one.wait(PATIENCE_S)


@pytest.fixture
def site(tmp_path: Path) -> Any:
    made = Site(tmp_path)
    yield made
    made.close()


def until(true: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


ALL = [f"f{at:03}" for at in range(FILES)]


def test_one_row_for_each_result_in_the_order_of_the_input(site: Site) -> None:
    assert site.run(ECHO)[0] == 0
    assert site.rows == ALL
    assert site.log("job_result.txt").startswith("Completed\n40 of 40 mini-batches, 0 failed")
    assert "40 of 40" in site.log("job_progress_overview.txt")
    assert len(site.log("sys/job_report/processed_mini-batches.csv").splitlines()) == FILES + 1


def test_what_an_entry_script_finds(site: Site) -> None:
    script = """
import argparse, logging, sys
from azureml_user.parallel_run import EntryScript
def init():
    global name
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model")
    name = parser.parse_known_args()[0].model
    print("init is over")
    logging.getLogger().info("to the root logger")
    EntryScript().logger.info("said in init")
def run(mini_batch, context):
    assert EntryScript() is EntryScript()
    script = EntryScript()
    return [f"{name} {context.minibatch_index} {context.partition_key_value} {script.agent_name[:7]} {script.output_dir}"]
def shutdown():
    print("shut down")
"""
    # One process: another may not be ready yet when all is done, and is ended then.
    assert site.run(script, slots=1, arguments=["--model", "a model", "--error_threshold", "-1"])[0] == 0
    assert site.rows[7] == f"a model 7 {{}} process {site.folder}"
    said = [path.read_text() for path in sorted((site.logs / "user" / "stdout" / "node-0").iterdir())]
    assert all(one.startswith("init is over\n") and one.endswith("shut down\n") for one in said)
    assert all("to the root logger" in one for one in said)
    assert "said in init" in site.log("user/entry_script_log/node-0/process000.log.txt")


def test_failures_of_every_kind_are_tried_again_and_named(site: Site) -> None:
    script = """
import os, time
def run(mini_batch):
    name = mini_batch[0][-3:]
    if name == "003":
        raise ValueError("three is bad")
    if name == "005":
        os._exit(9)
    if name == "007":
        time.sleep(600)
    if name == "009":
        return None
    return [name]
"""
    code, said = site.run(script, retries=1, timeout_s=1)
    assert code == 0, said
    assert site.rows == [one[1:] for one in ALL if one not in ("f003", "f005", "f007", "f009")]
    result = site.log("job_result.txt")
    for part in (
        "three is bad",
        "exit code 9",
        "run() took longer than 1 s",
        "run() returned nothing",
        "after 2 tries",
    ):
        assert part in result, part
    assert "three is bad" in site.log("user/error.txt")
    traces = "".join(path.read_text() for path in (site.logs / "user" / "error" / "node-0").iterdir())
    assert 'raise ValueError("three is bad")' in traces and "_smalt_parallel" not in traces


def test_a_failure_that_passes_is_made_good(site: Site) -> None:
    script = """
import re
from pathlib import Path
def run(mini_batch):
    mark = Path(re.sub("/seen-[0-9]+/", "/tried-", mini_batch[0]))
    if not mark.exists():
        mark.touch()
        raise OSError("not yet")
    return mini_batch
"""
    assert site.run(script, batch_errors=0)[0] == 0
    assert len(site.rows) == FILES


def test_thresholds_and_a_script_that_does_not_start_fail_the_job_with_the_reason(site: Site) -> None:
    code, said = site.run("def run(m): raise ValueError('no')", retries=0, batch_errors=3)
    assert code == 1 and "4 mini-batches failed, more than mini_batch_error_threshold allows (3)" in said
    assert site.log("job_result.txt").startswith("Failed: 4 mini-batches")
    code, said = site.run("def init(): raise RuntimeError('no model')\ndef run(m): return m")
    assert code == 1 and "RuntimeError: no model" in said
    code, said = site.run("x = 1")
    assert code == 1 and "no function run(mini_batch)" in said


def test_nodes_share_the_work_by_pulling(site: Site) -> None:
    first = site.start(TOGETHER, nodes=2)
    other = site.start(TOGETHER, rank=1, nodes=2)
    assert first.wait(PATIENCE_S) == 0 and other.wait(PATIENCE_S) == 0
    assert site.rows == ALL
    report = site.log("sys/job_report/processed_mini-batches.csv")
    assert "node-0/" in report and "node-1/" in report


def test_a_stranger_gets_nothing(site: Site) -> None:
    first = site.start(ECHO, nodes=2)
    stranger = site.start(ECHO, rank=1, nodes=2, secret="wrong")
    assert stranger.wait(PATIENCE_S) == 75
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(2)  # its own other node has not come
    assert site.start(ECHO, rank=1, nodes=2).wait(PATIENCE_S) == 0 and first.wait(PATIENCE_S) == 0
    assert site.rows == ALL


@pytest.mark.parametrize("again", [False, True], ids=["all is done at once", "an earlier attempt has done all"])
def test_a_node_that_comes_when_all_is_done_hears_of_it(site: Site, again: bool) -> None:
    if again:
        assert site.run(ECHO)[0] == 0
    first = site.start(ECHO, nodes=3)
    until(lambda: _done(site) == FILES)
    assert site.start(ECHO, rank=1, nodes=3).wait(PATIENCE_S) == 0
    assert first.poll() is None, "the third node has not come"
    assert site.start(ECHO, rank=2, nodes=3).wait(PATIENCE_S) == 0 and first.wait(PATIENCE_S) == 0
    assert site.rows == ALL


def test_a_job_that_has_failed_waits_for_no_node(site: Site) -> None:
    code, said = site.run("def run(m): raise ValueError('no')", nodes=2, retries=0, batch_errors=3)
    assert code == 1 and "mini_batch_error_threshold" in said


def test_a_node_that_is_killed_gives_back_what_it_had(site: Site) -> None:
    first = site.start(TOGETHER, nodes=2)
    other = site.start(TOGETHER, rank=1, nodes=2)
    until(lambda: _done(site) > 4)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert first.wait(PATIENCE_S) == 0
    assert site.rows == ALL


def _done(site: Site) -> int:
    found = list((site.logs / "azureml" / "mini_batches").glob("*.records"))
    return sum(path.read_bytes().count(b'"batch"') for path in found)


def test_a_job_that_was_killed_goes_on_and_repeats_nothing_that_is_done(site: Site) -> None:
    script = """
import re, time
def run(mini_batch):
    time.sleep(0.03)
    with open(re.sub("/seen-[0-9]+/", "/ran-", mini_batch[0]), "a") as file:
        file.write("x")
    return [mini_batch[0].rsplit("/", 1)[-1]]
"""
    for goal in (5, 15, 25):
        driver = site.start(script)
        until(lambda goal=goal: _done(site) >= goal)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        until(lambda driver=driver: not _workers(driver.pid, site))
    driver = site.start(script)
    assert driver.wait(PATIENCE_S) == 0
    assert site.rows == ALL
    again = [path.name for path in site.folder.glob("ran-*") if len(path.read_text()) > 1]
    assert len(again) <= 3 * 4, "only what was running when it was killed may have run twice"
    assert "before the job lost its nodes" in site.log("job_progress_overview.txt")


def _workers(driver: int, site: Site) -> list[str]:
    """Those that still run; a worker ends when its driver is gone."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            line = (one / "cmdline").read_bytes()
        except OSError:
            continue
        if str(site.folder).encode() in line and b"\0work\0" in line:
            found.append(one.name)
    return found


def test_a_worker_that_is_killed_costs_one_try(site: Site) -> None:
    script = """
import os, signal, time
import re
from pathlib import Path
def run(mini_batch):
    mark = Path(re.sub("/seen-[0-9]+/", "/killed-", mini_batch[0]))
    if mini_batch[0].endswith("4") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [mini_batch[0].rsplit("/", 1)[-1]]
"""
    assert site.run(script, batch_errors=0, retries=1)[0] == 0
    assert site.rows == ALL


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_that_cannot_start_workers_fails_the_job_in_words(site: Site, rank: int) -> None:
    first = site.start("import time\ndef run(m): time.sleep(60)", nodes=2) if rank else None
    site.logs.mkdir(exist_ok=True)
    logs = site.logs if not rank else site.folder / "other"
    logs.mkdir(exist_ok=True)
    (logs / "user").write_text("no folder")
    code, said = site.run(ECHO, rank=rank, nodes=2, logs=str(logs))
    assert code == 1 and "cannot go on: [Errno" in said and "user" in said
    assert rank or "cannot go on" in site.log("job_result.txt")
    assert first is None or first.poll() is None, "the platform ends it"


def test_a_disk_that_is_full_fails_the_job_in_words(site: Site) -> None:
    process = site.start("def run(m): return ['x' * 4096]")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    last = said.strip().rsplit("\n", 1)[-1]
    assert last.startswith("What is done cannot be written down: [Errno")
    assert site.log("job_result.txt").startswith(f"Failed: {last}") and 0 < len(site.rows) < FILES


def test_rows_that_have_no_place_fail_the_job_in_words(site: Site) -> None:
    (site.folder / "file").touch()
    code, said = site.run(ECHO, append_to=str(site.folder / "file" / "rows.txt"))
    assert code == 1 and "results of this parallel job cannot be written: [Errno" in said


def test_a_worker_that_hangs_up_and_does_not_end_is_ended(site: Site) -> None:
    script = """
import os, time
def run(mini_batch):
    if mini_batch[0].endswith("003"):
        os.closerange(3, 256)
        time.sleep(300)
    return [mini_batch[0].rsplit("/", 1)[-1]]
"""
    process = site.start(script, retries=1, timeout_s=600)
    assert process.wait(PATIENCE_S) == 0
    assert "closed its connection, and did not end" in site.log("job_result.txt")
    assert site.rows == [one for one in ALL if one != "f003"]


def test_rows_of_tables(site: Site) -> None:
    pytest.importorskip("pandas")
    (site.folder / "in" / "t.csv").write_text("id,x\n" + "".join(f"{at},{at * at}\n" for at in range(500)))
    table = {
        "paths": [{"root": str(site.folder / "in"), "kind": "file", "at": "t.csv"}],
        "format": "",
        "steps": [],
        "reader": {"kind": "delimited", "header": "all_files_same_headers"},
    }
    script = "def run(rows):\n    return rows[['id']]\n"
    code, said = site.run(script, table=table, size=512, arguments=["--append_row_dataframe_header", "True"])
    assert code == 0, said
    assert site.rows == ["id", *map(str, range(500))]


def test_the_script_finds_its_model_and_the_output(site: Site) -> None:
    model = site.folder / "models" / "m"
    model.mkdir(parents=True)
    (model / "factor").write_text("3")
    script = """
import os
from pathlib import Path
def run(mini_batch):
    folder = os.environ["AZUREML_MODEL_DIR"]
    Path(os.environ["AZUREML_BI_OUTPUT_PATH"], "beside").touch()
    return [Path(folder, "m", "factor").read_text()]
"""
    assert site.run(script, model=str(model), size=FILES)[0] == 0
    assert site.rows == ["3"] and (site.folder / "beside").exists()
