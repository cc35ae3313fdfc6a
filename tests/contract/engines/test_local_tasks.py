"""What a task sees on this machine: its folder, inputs, outputs, variables. Real processes, real mounts."""

from __future__ import annotations

import http.server
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.carriers import BOTH
from fakes.refs import ref
from live.platform import eventually
from smalt.agent.wire import Hint, InputSpec, Outcome, OutputSpec

pytestmark = BOTH


def files_only(local: Any) -> None:
    if local.carrier:
        pytest.skip("what is carried is as it was when the task began, and has no links")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "blobs" / "my data"
    (folder / "sub").mkdir(parents=True)
    (folder / "rows.csv").write_text("1,2\n")
    (folder / "sub" / "more.csv").write_text("3,4\n")
    return folder


WRITES = [
    "echo x > '{0}/new'",
    "echo x >> '{0}/rows.csv'",
    "rm '{0}/rows.csv'",
    "mv '{0}/rows.csv' '{0}/other.csv'",
    "chmod 777 '{0}/rows.csv'",
    "mount -o remount,bind,rw '{0}'",
    "umount '{0}'",
]


@pytest.mark.parametrize("mode", ["ro_mount", "eval_mount"])
def test_a_mounted_input_is_really_read_only(local: Any, data: Path, mode: str) -> None:
    tries = "; ".join(f"{one.format('${{inputs.d}}')} 2>>errors && echo WROTE" for one in WRITES)
    command = f"cat '${{{{inputs.d}}}}/sub/more.csv'; {tries}; true"
    state, log = local.run(command=command, inputs=[InputSpec("d", "uri_folder", mode, source=ref(data))])
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 0)
    assert log.startswith("3,4\n")
    assert "WROTE" not in log
    assert sorted(one.name for one in data.iterdir()) == ["rows.csv", "sub"]
    assert (data / "rows.csv").read_text() == "1,2\n"
    assert str(data) not in Path("/proc/self/mountinfo").read_text()


def test_a_mounted_file_keeps_its_name_and_is_read_only(local: Any, data: Path) -> None:
    source = ref(data / "rows.csv")
    state, log = local.run(
        command="cat ${{inputs.f}}; basename ${{ inputs.f }}; echo x >> ${{inputs.f}} || exit 9",
        inputs=[InputSpec("f", "uri_file", "ro_mount", source=source)],
    )
    assert state.exit_code == 9
    assert log.splitlines()[:2] == ["1,2", "rows.csv"]
    assert "Read-only file system" in state.error
    assert (data / "rows.csv").read_text() == "1,2\n"


def test_a_mounted_file_is_the_file_itself_however_large(local: Any, data: Path) -> None:
    files_only(local)
    big = data / "big.bin"
    with big.open("wb") as file:
        file.truncate(50 * 10**9)
    state, log = local.run(
        command="stat -c '%s %i' ${{inputs.f}}", inputs=[InputSpec("f", "uri_file", "ro_mount", source=ref(big))]
    )
    assert state.exit_code == 0
    assert log.split() == [str(50 * 10**9), str(big.stat().st_ino)]


def test_what_others_add_to_a_mounted_input_is_seen(local: Any, data: Path) -> None:
    files_only(local)
    task = local.task(
        "t",
        command=f"read x < '{local.root}/go'; ls ${{{{inputs.d}}}}",
        inputs=[InputSpec("d", "uri_folder", "ro_mount", source=ref(data))],
    )
    os.mkfifo(local.root / "go")
    local.engine.ensure(task)
    local.changes.running("t")
    (data / "late.csv").write_text("5\n")
    (local.root / "go").write_text("x\n")
    assert local.changes.ended("t").exit_code == 0
    assert "late.csv" in Path(task.log.name).read_text()


@pytest.mark.parametrize("mode", ["download", "eval_download"])
def test_a_downloaded_input_is_a_private_copy(local: Any, data: Path, mode: str) -> None:
    command = "echo changed > ${{inputs.d}}/rows.csv && rm -r ${{inputs.d}}/sub && cat ${{inputs.d}}/rows.csv"
    state, log = local.run(command=command, inputs=[InputSpec("d", "uri_folder", mode, source=ref(data))])
    assert (state.exit_code, log) == (0, "changed\n")
    assert (data / "rows.csv").read_text() == "1,2\n"
    assert (data / "sub").is_dir()


@pytest.mark.parametrize("mode", ["ro_mount", "download"])
def test_a_folder_may_keep_its_name(local: Any, tmp_path: Path, mode: str) -> None:
    """As a model has it, in a folder of its own."""
    model = tmp_path / "models" / "weights"
    model.mkdir(parents=True)
    (model / "w.txt").write_text("3\n")
    given = InputSpec("model", "custom_model", mode, source=ref(model), named=True)
    state, log = local.run(command="basename ${{inputs.model}}; cat ${{inputs.model}}/w.txt", inputs=[given])
    assert state.exit_code == 0 and log == "weights\n3\n"


def test_a_downloaded_folder_brings_no_link_out(local: Any, data: Path, tmp_path: Path) -> None:
    files_only(local)
    (tmp_path / "secret").write_text("secret")
    (data / "out").symlink_to(tmp_path / "secret")
    (data / "in").symlink_to("rows.csv")
    command = "cat ${{inputs.d}}/in; cat ${{inputs.d}}/out"
    state, log = local.run(command=command, inputs=[InputSpec("d", "uri_folder", "download", source=ref(data))])
    assert state.exit_code == 1
    assert log.startswith("1,2\n")
    assert "secret" not in log.replace("secret'", "")
    assert "out: a link that leads out" in local.system_log()


def test_literals_direct_and_environment_variables(local: Any) -> None:
    state, log = local.run(
        command="echo ${{inputs.rate}} ${{inputs.group.size}} ${{inputs.where}} $AZURE_ML_INPUT_rate "
        "$AZURE_ML_INPUT_where $[[--opt ${{inputs.absent}}]] $MINE",
        inputs=[
            InputSpec("rate", value="0.5"),
            InputSpec("group.size", value="7"),
            InputSpec("where", "uri_folder", "direct", uri="azureml://datastores/x/paths/y"),
        ],
        variables={"MINE": "a b"},
    )
    where = "azureml://datastores/x/paths/y"
    assert (state.exit_code, log) == (0, f"0.5 7 {where} 0.5 {where} a b\n")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"command": "echo ${{inputs.nope}}"}, "input 'nope'"),
        ({"command": "echo ${{parent.inputs.x}}"}, "parent.inputs.x"),
        (
            {"command": "x", "inputs": [InputSpec("d", "uri_folder", source=ref("/nonexistent/d"), uri="azureml:d:1")]},
            "'d'",
        ),
        ({"command": "x", "inputs": [InputSpec("d", "uri_folder", "sideways", source=ref("/"))]}, "'sideways'"),
        ({"command": "x", "inputs": [InputSpec("u", "uri_file", url="http://127.0.0.1:9/x")]}, "Input 'u'"),
        ({"command": "x", "inputs": [InputSpec("u", "uri_file", url="ftp://h/x")]}, "not an http"),
        ({"command": "x", "outputs": [OutputSpec("o", mode="rw_mount")]}, "Output 'o'"),
        ({"command": "x", "code": ref("/nonexistent/code")}, "code of this job is gone"),
        ({"command": "x", "environment": "/nonexistent/env"}, "not a virtual environment"),
        ({"command": "x", "variables": {"A=B": "x"}}, "'A=B'"),
        ({"argv": ["no-such-program-anywhere"]}, "no-such-program-anywhere"),
    ],
)
def test_what_cannot_be_prepared_is_named(local: Any, values: dict[str, Any], part: str) -> None:
    state, log = local.run(**values)
    assert state.outcome is Outcome.SETUP
    assert part in state.error
    assert state.exit_code is None
    assert state.started_at == 0
    assert log == ""


class _Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/short"):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")
        elif self.path.startswith("/data/my%20rows.csv"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the web\n")
        else:
            self.send_error(404, "Not here")

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_input_from_the_web(local: Any, web: str) -> None:
    url = f"{web}/data/my%20rows.csv?sig=hidden"
    state, log = local.run(
        command='cat "${{inputs.u}}"; basename "${{inputs.u}}"', inputs=[InputSpec("u", "uri_file", url=url)]
    )
    assert (state.exit_code, log) == (0, "from the web\nmy rows.csv\n")


@pytest.mark.parametrize(("path", "part"), [("/gone?sig=hidden", "404"), ("/short?sig=hidden", "9 of 100 bytes")])
def test_a_bad_answer_from_the_web_is_named_without_its_signature(local: Any, web: str, path: str, part: str) -> None:
    state, _ = local.run(command="true", inputs=[InputSpec("u", "uri_file", "download", url=web + path)])
    assert state.outcome is Outcome.SETUP
    assert "Input 'u'" in state.error
    assert part in state.error
    assert "hidden" not in state.error + local.system_log()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "pkg").mkdir(parents=True)
    (folder / "run.sh").write_text("#!/bin/bash\necho ran; echo changed > pkg/a.txt\n")
    (folder / "run.sh").chmod(0o600)
    (folder / "pkg" / "a.txt").write_text("original")
    (folder / "inside").symlink_to("pkg/a.txt")
    (folder / "escapes").symlink_to("/etc/passwd")
    (folder / "climbs").symlink_to("../../../../../../etc/passwd")
    (folder / "pkg" / "dir").symlink_to("/etc")
    return folder


def test_code_is_a_fresh_copy_without_links_out(local: Any, code: Path) -> None:
    files_only(local)
    for name in ("first", "second"):
        state, log = local.run(
            name,
            command="cat pkg/a.txt; ./run.sh; cat inside; ls -R; cat escapes climbs pkg/dir/passwd",
            code=ref(code),
        )
        assert state.exit_code == 1
        assert log.startswith("originalran\nchanged\n")
        assert "root:" not in log
        assert "escapes: a link that leads out" in local.system_log(name)
    assert (code / "pkg" / "a.txt").read_text() == "original"
    assert not (local.folder("first") / "user" / "work" / "escapes").is_symlink()


def test_outputs_in_place_and_uploaded(local: Any, tmp_path: Path) -> None:
    store = tmp_path / "store"
    state, log = local.run(
        command="echo 1 > ${{outputs.place}}/a; mkdir -p ${{outputs.up}}/d; echo 2 > ${{outputs.up}}/d/b; "
        "echo 3 > $AZURE_ML_OUTPUT_file; echo 4 > ${{outputs.upfile}}; echo ${{outputs.uri}}; "
        f"ls {store}/up 2>&-; exit 3",
        outputs=[
            OutputSpec("place", target=ref(store / "place")),
            OutputSpec("up", mode="upload", target=ref(store / "up")),
            OutputSpec("file", "uri_file", target=ref(store / "files" / "x.txt")),
            OutputSpec("upfile", "uri_file", "upload", target=ref(store / "files" / "y.txt")),
            OutputSpec("uri", mode="direct", uri="azureml://o", target=ref(store / "uri")),
        ],
    )
    assert (state.exit_code, log) == (3, "azureml://o\n")
    assert (store / "place" / "a").read_text() == "1\n"
    assert (store / "up" / "d" / "b").read_text() == "2\n"
    assert (store / "files" / "x.txt").read_text() == "3\n"
    assert (store / "files" / "y.txt").read_text() == "4\n"
    assert (store / "uri").is_dir() or local.carrier


def test_artifacts_are_in_place_and_live(local: Any, tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    os.mkfifo(tmp_path / "go")
    task = local.task(
        "t", command=f"echo x > outputs/x; echo l > logs/l; read y < {tmp_path}/go", artifacts=ref(artifacts)
    )
    local.engine.ensure(task)
    local.changes.running("t")
    for name, said in (("logs/l", "l\n"), ("outputs/x", "x\n")):
        eventually(lambda one=artifacts / name, said=said: one.exists() and one.read_text() == said, name)
    (tmp_path / "go").write_text("\n")
    assert local.changes.ended("t").exit_code == 0


def test_artifacts_become_plain_files(local: Any, tmp_path: Path) -> None:
    artifacts, outside = tmp_path / "artifacts", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    state, _ = local.run(
        command="mkdir -p outputs/step1 w && echo m > outputs/step1/m && echo w > w/f && ln -s step1 outputs/latest "
        f"&& ln -s $PWD/w/f outputs/f && ln -s {outside} outputs/out && ln -s {outside}/secret outputs/s "
        "&& ln -s gone outputs/dangling && ln -s . outputs/loop && rm logs && mkdir logs && echo new > logs/n",
        artifacts=ref(artifacts),
    )
    assert state.exit_code == 0
    outputs = artifacts / "outputs"
    assert (outputs / "latest" / "m").read_text() == "m\n"
    assert not (outputs / "latest").is_symlink()
    assert (outputs / "f").read_text() == "w\n"
    assert (artifacts / "logs" / "n").read_text() == "new\n"
    assert sorted(one.name for one in outputs.iterdir()) == ["f", "latest", "step1"]
    assert not any(one.is_symlink() for one in artifacts.rglob("*"))
    assert (outside / "secret").read_text() == "secret"


def test_a_snapshot_with_an_outputs_folder_of_its_own(local: Any, tmp_path: Path) -> None:
    (tmp_path / "code" / "outputs").mkdir(parents=True)
    (tmp_path / "code" / "outputs" / "seed").write_text("s")
    state, _ = local.run(
        command="cat outputs/seed && echo n > outputs/n", code=ref(tmp_path / "code"), artifacts=ref(tmp_path / "a")
    )
    assert state.exit_code == 0
    assert sorted(one.name for one in (tmp_path / "a" / "outputs").iterdir()) == ["n", "seed"]


def test_the_environment_is_clean_and_private(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_SECRET", "hush")
    state, log = local.run(command="env; stat -c %a $TMPDIR; touch $TMPDIR/x; echo $$ $(ps -o pgid=,sid= -p $$)")
    assert state.exit_code == 0
    lines = log.splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert "hush" not in log
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert environment["HOME"]
    assert Path(environment["PWD"]).name == "work"
    assert lines[-2] == "700"
    assert not Path(environment["TMPDIR"]).exists()
    pid, group, session = lines[-1].split()
    assert pid == group == session


def test_secrets_are_the_owners_alone(local: Any) -> None:
    local.run(command="true", variables={"TOKEN": "hush"})
    folder = local.folder("t")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "task.json").stat().st_mode) == 0o600
    assert "hush" not in local.system_log()


def test_a_command_says_what_should_be_looked_at(local: Any) -> None:
    Hint("/somebody", "").send(str(local.settings.hints_socket))
    local.changes.told("/somebody")
    Hint("/nobody", "").send(str(local.settings.root / "no-such-socket"))  # lost, and nobody is held up


def test_a_task_has_its_walls_though_one_of_its_name_was_there_a_moment_ago(
    local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Walls are made ready before the door; what is behind it may have been removed in between."""
    local.engine.ensure(local.task("t", command="true"))
    local.changes.ended("t")
    engine, removed, walled = local.engine, list[str](), list[str]()
    door, around = engine._folders.door, engine._walling.around

    def opened(exclusive: bool) -> Any:
        if not removed:
            removed.append("t")
            engine.remove("t")
        return door(exclusive)

    monkeypatch.setattr(engine._folders, "door", opened)
    monkeypatch.setattr(engine._walling, "around", lambda task: walled.append(task.name) or around(task))
    engine.ensure(local.task("t", command="true"))
    assert removed == walled == ["t"]
    assert local.changes.ended("t").exit_code == 0
