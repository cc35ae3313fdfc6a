"""What a carried task reads: fetched before it starts, from a store that may fail, into a cache that all share."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.refs import ref
from live.files import files_below
from live.patience import PATIENCE_S
from smalt.agent.wire import InputSpec, Outcome, OutputSpec, Phase, Probe, Ref, ServerSpec
from smalt.arm.errors import ArmError
from smalt.engines.local.carry import fetch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "blobs" / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "rows.csv").write_text("1,2\n")
    (folder / "sub" / "more.csv").write_text("3,4\n")
    return folder


def reads(data: Path, mode: str = "ro_mount") -> dict[str, Any]:
    return {
        "command": "cat ${{inputs.d}}/rows.csv ${{inputs.d}}/sub/more.csv",
        "inputs": [InputSpec("d", "uri_folder", mode, source=ref(data))],
    }


def cached(carried: Any) -> list[Path]:
    return [path for path in carried.settings.cache.glob("??/*") if path.is_file()]


def test_a_second_task_fetches_nothing(carried: Any, data: Path) -> None:
    for name in ("a", "b", "c"):
        state, log = carried.run(name, **reads(data, "download" if name == "c" else "ro_mount"))
        assert (state.exit_code, log) == (0, "1,2\n3,4\n")
    assert carried.carrier.calls["fetch"] == 2
    carried.reopen()
    assert carried.run("d", **reads(data))[1] == "1,2\n3,4\n"
    assert carried.carrier.calls["fetch"] == 2


def test_what_was_written_anew_is_fetched_anew(carried: Any, data: Path) -> None:
    carried.run("a", **reads(data))
    (data / "rows.csv").write_text("9,9\n")
    assert carried.run("b", **reads(data))[1] == "9,9\n3,4\n"
    assert carried.carrier.calls["fetch"] == 3


def test_many_tasks_at_once_fetch_each_blob_once(carried: Any, data: Path) -> None:
    tasks = [carried.task(f"t{index}", **reads(data)) for index in range(6)]
    for task in tasks:
        carried.engine.ensure(task)
    for task in tasks:
        assert carried.changes.ended(task.name).exit_code == 0
        assert Path(task.log.name).read_text() == "1,2\n3,4\n"
    assert carried.carrier.calls["fetch"] == 2


def test_ensure_returns_while_the_store_hangs(carried: Any, data: Path) -> None:
    hanging = carried.carrier.hangs("fetch")
    carried.engine.ensure(carried.task("t", **reads(data)))
    assert hanging.wait(PATIENCE_S)
    state = carried.engine.observe("t")
    assert (state.phase, state.agent_pid) == (Phase.PREPARING, 0)
    carried.carrier.heal()
    assert carried.changes.ended("t").exit_code == 0


@pytest.mark.parametrize("call", ["list", "fetch"])
def test_a_stop_ends_it_while_the_store_hangs(carried: Any, data: Path, call: str) -> None:
    hanging = carried.carrier.hangs(call)
    carried.engine.ensure(carried.task("t", **reads(data)))
    assert hanging.wait(PATIENCE_S)
    carried.engine.stop("t", 30)
    state = carried.changes.ended("t")
    assert (state.outcome, state.started_at) == (Outcome.STOPPED, 0)
    carried.carrier.heal()
    assert "stopped before its command started" in carried.system_log("t")


def test_its_time_is_up_while_the_store_hangs(carried: Any, data: Path) -> None:
    carried.carrier.hangs("fetch")
    carried.engine.ensure(carried.task("t", timeout_s=1, **reads(data)))
    state = carried.changes.ended("t")
    assert state.outcome is Outcome.TIMEOUT and "limit of 1 s" in state.error


def test_a_newer_fence_is_kept_while_it_is_fetched(carried: Any, data: Path) -> None:
    hanging = carried.carrier.hangs("fetch")
    task = carried.task("t", fence=3, **reads(data))
    carried.engine.ensure(task)
    assert hanging.wait(PATIENCE_S)
    with pytest.raises(ValueError, match="fence 2 is older than 3"):
        carried.engine.ensure(type(task)(**{**task.__dict__, "fence": 2}))
    carried.engine.ensure(task)
    carried.carrier.heal()
    assert carried.changes.ended("t").exit_code == 0


def test_what_is_removed_while_it_is_fetched_never_starts(carried: Any, data: Path) -> None:
    hanging = carried.carrier.hangs("fetch")
    values = reads(data) | {"command": f"echo old >> '{carried.starts}'"}
    carried.engine.ensure(carried.task("t", **values))
    assert hanging.wait(PATIENCE_S)
    carried.engine.remove("t")
    assert carried.engine.observe("t") is None and not carried.folder("t").exists()
    carried.engine.ensure(carried.task("t", command=f"echo new >> '{carried.starts}'"))
    carried.carrier.heal()
    carried.changes.ended("t")
    assert carried.starts.read_text() == "new\n"


def test_a_store_that_fails_and_tears_is_tried_again(carried: Any, data: Path) -> None:
    carried.carrier.fails("list", "fetch", times=4)
    state, log = carried.run("t", **reads(data))
    assert (state.exit_code, log) == (0, "1,2\n3,4\n")
    assert "503 Service Unavailable" in carried.system_log("t")


def test_what_is_cut_short_is_not_taken(carried: Any, data: Path) -> None:
    whole, torn = carried.carrier.fetch, [True]

    def tear(blob: Ref, path: Path, etag: str = "") -> None:
        whole(blob, path, etag)
        if torn and blob.name.endswith("rows.csv"):
            torn.clear()
            os.truncate(path, 2)

    carried.carrier.fetch = tear
    assert carried.run("t", **reads(data))[1] == "1,2\n3,4\n"
    assert "ended after 2 of 4 bytes" in carried.system_log("t")


def test_what_changes_between_list_and_fetch_is_fetched_as_it_is(carried: Any, data: Path) -> None:
    changed: list[bool] = []

    def fault(call: str, blob: Ref) -> None:
        if call == "fetch" and blob.name.endswith("rows.csv") and not changed:
            changed.append(True)
            (data / "rows.csv").write_text("5,6,7\n")

    carried.carrier.fault = fault
    assert carried.run("t", **reads(data))[1] == "5,6,7\n3,4\n"


def test_a_store_that_stays_away_is_said(carried: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PATIENCE_S", 1.0)
    carried.carrier.fails("fetch")
    state, _ = carried.run("t", **reads(data))
    assert state.outcome is Outcome.SETUP
    assert "Input 'd' could not be fetched" in state.error and "503 Service Unavailable" in state.error


def test_a_refusal_is_not_tried_again(carried: Any, data: Path) -> None:
    carried.carrier.fails("fetch", error=ArmError(400, "UserError", "This blob is encrypted."))
    state, _ = carried.run("t", **reads(data))
    assert state.outcome is Outcome.SETUP
    assert state.error.startswith("Input 'd' could not be fetched") and "This blob is encrypted." in state.error


def test_what_is_missing_is_said_before_anything_is_fetched(carried: Any, data: Path, tmp_path: Path) -> None:
    values = reads(data)
    values["inputs"] = [
        *values["inputs"],
        InputSpec("gone", "uri_folder", source=ref(tmp_path / "x"), uri="azureml:x:1"),
    ]
    state, _ = carried.run("t", **values)
    assert state.outcome is Outcome.SETUP
    assert state.error == "Input 'gone': nothing is at azureml:x:1. Check that it was uploaded or written."
    assert carried.carrier.calls["fetch"] == 0


def test_a_name_that_no_file_has_is_left_out(carried: Any, data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    whole = carried.carrier.list

    def lists(blob: Ref) -> Iterator[Any]:
        for one in whole(blob):
            yield one
            if one.name == "rows.csv":
                yield one._replace(name="../../../../../../../../evil")
                yield one._replace(name="a//b")

    carried.carrier.list = lists
    assert carried.run("t", **reads(data))[1] == "1,2\n3,4\n"
    assert "evil': no file can have this name" in carried.system_log("t")
    assert not list(files_below(tmp_path, "evil"))


def test_a_blob_and_a_folder_of_one_name_are_an_error(carried: Any, data: Path) -> None:
    whole = carried.carrier.list

    def lists(blob: Ref) -> Iterator[Any]:
        for one in whole(blob):
            yield one
            if one.name == "rows.csv":
                yield one._replace(name="rows.csv/below")

    carried.carrier.list = lists
    state, _ = carried.run("t", **reads(data))
    assert state.outcome is Outcome.SETUP and "Input 'd' could not be fetched" in state.error


def test_the_cache_is_bounded_and_keeps_what_is_held(carried: Any, tmp_path: Path) -> None:
    """It holds 1 MiB; each of the folders has 600 KiB."""
    folders = [tmp_path / "blobs" / f"f{index}" for index in range(3)]
    for index, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "x").write_bytes(bytes([65 + index]) * (600 << 10))
    held, gate = folders[0], tmp_path / "gate"
    os.mkfifo(gate)
    command = f"read x < '{gate}'; head -c 3 ${{{{inputs.d}}}}/x"
    task = carried.task("holds", command=command, inputs=[InputSpec("d", "uri_folder", source=ref(held))])
    carried.engine.ensure(task)
    carried.changes.running("holds")
    for name, folder in (("b", folders[1]), ("c", folders[2])):
        carried.run(name, command="true", inputs=[InputSpec("d", "uri_folder", source=ref(folder))])
        carried.engine.remove(name)
    gate.write_text("x\n")
    assert carried.changes.ended("holds").exit_code == 0
    assert Path(task.log.name).read_text() == "AAA"
    carried.engine.remove("holds")
    wait(lambda: sum(one.stat().st_size for one in cached(carried)) <= 1 << 20, "the cache to be within its bound")
    assert cached(carried), "what was used last is kept"


@pytest.mark.parametrize("workspace", ["", "/w"])
@pytest.mark.parametrize("mode", ["ro_mount", "download"])
def test_no_task_changes_what_the_next_one_sees(carried: Any, data: Path, mode: str, workspace: str) -> None:
    """In the open and behind walls."""
    carried.settings.tls.mkdir()
    (carried.settings.tls / "bundle.pem").touch()
    writes = "chmod -R u+w ${{inputs.d}}; echo x >> ${{inputs.d}}/rows.csv; rm ${{inputs.d}}/sub/more.csv; true"
    carried.run("t", **(reads(data, mode) | {"command": writes}), workspace=workspace)
    assert carried.run("u", **reads(data), workspace=workspace)[1] == "1,2\n3,4\n"
    assert carried.carrier.calls["fetch"] == 2
    assert (data / "rows.csv").read_text() == "1,2\n"


def test_an_entry_that_was_written_to_is_fetched_again(carried: Any, data: Path) -> None:
    carried.run("t", **reads(data))
    for entry in cached(carried):
        entry.chmod(0o600)
        text = entry.read_text()
        entry.write_text("X" * len(text))
    assert carried.run("u", **reads(data))[1] == "1,2\n3,4\n"


def test_a_model_in_the_open_is_the_tasks_own(carried: Any, tmp_path: Path) -> None:
    model = tmp_path / "blobs" / "m"
    model.mkdir(parents=True)
    (model / "weights").write_text("w")
    (tmp_path / "blobs" / "code").mkdir()
    (tmp_path / "blobs" / "code" / "score.py").write_text("def init(): pass\ndef run(data): return data\n")
    server = ServerSpec(ref(model), "score.py", "blue")
    task = carried.task("t", server=server, code=ref(tmp_path / "blobs" / "code"), ready=Probe("/ready"), command="")
    carried.engine.ensure(task)
    carried.changes.until("t", lambda state: state.ready)
    assert all(one.read_text() != "w" for one in cached(carried))
    carried.engine.stop("t", 5)
    carried.changes.ended("t")


def test_an_rw_mount_may_be_written_and_is_stored(carried: Any, data: Path) -> None:
    values = reads(data, "rw_mount") | {"command": "echo 7 >> ${{inputs.d}}/rows.csv; echo n > ${{inputs.d}}/new"}
    state, _ = carried.run("t", **values)
    assert state.exit_code == 0
    assert (data / "rows.csv").read_text() == "1,2\n7\n" and (data / "new").read_text() == "n\n"
    assert carried.carrier.stored == [str(data / "new"), str(data / "rows.csv")] or set(carried.carrier.stored) == {
        str(data / "new"),
        str(data / "rows.csv"),
    }
    assert carried.run("u", **reads(data))[1] == "1,2\n7\n3,4\n"


def test_an_output_goes_on_where_it_was(carried: Any, tmp_path: Path) -> None:
    out = tmp_path / "blobs" / "out"
    out.mkdir(parents=True)
    (out / "checkpoint").write_text("1\n")
    (out / "other").write_text("theirs\n")
    command = "cat ${{outputs.o}}/checkpoint; echo 2 >> ${{outputs.o}}/checkpoint"
    state, log = carried.run("t", command=command, outputs=[OutputSpec("o", target=ref(out))])
    assert (state.exit_code, log) == (0, "1\n")
    assert (out / "checkpoint").read_text() == "1\n2\n"
    assert carried.carrier.stored == [str(out / "checkpoint")], "what it did not change is not stored again"


def test_a_folder_that_is_added_to_is_not_brought(carried: Any, tmp_path: Path) -> None:
    target = carried.root / "blobs" / "collected"
    target.mkdir(parents=True)
    (target / "others").write_text("theirs\n")
    command = "ls ${{outputs.c}} | wc -l; mkdir ${{outputs.c}}/2026; echo mine > ${{outputs.c}}/2026/own"
    state, log = carried.run("t", command=command, outputs=[OutputSpec("c", mode="append", target=ref(target))])
    assert (state.exit_code, log) == (0, "0\n")
    assert (target / "2026" / "own").read_text() == "mine\n" and (target / "others").read_text() == "theirs\n"


def test_an_input_below_an_output_is_not_shared(carried: Any, data: Path) -> None:
    state, _ = carried.run(
        "t",
        command="echo 8 > ${{outputs.o}}/rows.csv",
        inputs=[InputSpec("d", "uri_folder", source=ref(data))],
        outputs=[OutputSpec("o", target=ref(data))],
    )
    assert state.exit_code == 0 and (data / "rows.csv").read_text() == "8\n"
    assert not cached(carried)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_is_said(carried: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, big = tmp_path / "disk", tmp_path / "blobs" / "big"
    place.mkdir()
    big.mkdir(parents=True)
    (big / "x").write_bytes(b"x" * (8 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=True)
    try:
        small = type(carried)(place, carried=True)
        for index, keep in enumerate((fetch.KEEP_FREE_BYTES, -(1 << 40))):  # seen before, and while it is fetched
            monkeypatch.setattr(fetch, "KEEP_FREE_BYTES", keep)
            state, _ = small.run(f"t{index}", command="true", inputs=[InputSpec("d", "uri_folder", source=ref(big))])
            assert state.outcome is Outcome.OUT_OF_DISK
            assert "The disk of this machine is too full for what the task needs" in state.error
        assert not list(small.settings.cache.glob(".parts/*/*"))
        small.close()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_nothing_runs_where_no_task_does(carried: Any, data: Path) -> None:
    carried.run("t", **reads(data))
    wait(
        lambda: not any(one.name.startswith("carry-t") for one in threading.enumerate() if one.name != "carry-tick"),
        "x",
    )
    calls = carried.carrier.calls.total()
    time.sleep(1.2)
    assert carried.carrier.calls.total() == calls


def wait(holds: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)
