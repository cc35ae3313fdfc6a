"""`up`, `status`, `env` and `down` as a user types them, on a real root with a stand-in for Envoy and the server.

The stand-in is a process that answers `GET /healthz` with the platform's own certificate on the platform's port.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from live.patience import PATIENCE_S
from live.processes import alive, any_alive
from smalt.cli.commands import quickstart, up
from smalt.cli.main import app
from smalt.cli.program import Program
from smalt.cli.root import CliError, holder
from smalt.config import read_settings
from smalt.doctor import start
from smalt.making import LOCK
from smalt.settings import Settings
from smalt.unix_socket import say

ANSWERING = """
import fcntl, http.server, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

tls, port = sys.argv[1], int(sys.argv[2])
fcntl.flock(open(sys.argv[3], "a"), fcntl.LOCK_SH)  # as Envoy and the server do
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(tls + "/server.pem", tls + "/server.key")
server = http.server.HTTPServer(("0.0.0.0", port), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
DRIVER = """
import sys
from pathlib import Path
folder = Path(sys.argv.pop(1))
sys.path[:0] = [str(folder), str(folder.parents[1])]
import test_cli_up_down as here
from smalt.cli.commands import up
from smalt.cli.main import app
up.programs = here.stand_ins
app()
"""
IDLE = "import time; time.sleep(600)"


def stand_ins(settings: Settings, environment: Mapping[str, str]) -> list[Program]:
    front = [sys.executable, "-c", ANSWERING, str(settings.tls), str(settings.port), str(settings.run / LOCK)]
    later = [sys.executable, "-c", IDLE]
    return [Program("envoy", front, dict(environment)), Program("mlflow", later, dict(environment), on_demand=True)]


def broken(settings: Settings, environment: Mapping[str, str]) -> list[Program]:
    return [Program("server", [sys.executable, "-c", "raise SystemExit('the database is gone')"], dict(environment))]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(up, "programs", stand_ins)
    yield tmp_path / "root"
    pid = holder(tmp_path / "root")
    if pid:
        os.kill(pid, signal.SIGKILL)


def smalt(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def status(root: Path) -> tuple[int, dict[str, object]]:
    said = smalt("status", "--root", root, "--json")
    return said.exit_code, json.loads(said.stdout)


def until(true: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def pids(root: Path) -> dict[str, int]:
    return {one["name"]: one["pid"] for one in status(root)[1]["processes"]}  # type: ignore[attr-defined]


def test_up_says_what_the_machine_lacks_and_only_at_a_start(
    root: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "notes", lambda machine: ["cgroups: none [at all]; jobs run without a limit."])
    said = smalt("up", "--root", root, "--port", port, "--detach").stdout.splitlines()
    at = said.index(f"What this machine lacks (smalt doctor --root {root} says what helps):")
    assert said[at + 1 :] == ["  cgroups: none [at all]; jobs run without a limit."]
    assert said[0] == f"Smalt is ready at https://localhost:{port}"
    again = smalt("up", "--root", root, "--detach")
    assert again.exit_code == 0 and "lacks" not in again.stdout
    assert smalt("down", "--root", root).exit_code == 0


def test_where_keys_cannot_be_made_nothing_is_left(root: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def full(settings: Settings) -> None:
        until(lambda: holder(root))  # the programs are started meanwhile
        begun.append(holder(root) or 0)
        raise CliError("the disk is full")

    monkeypatch.setattr(up, "_make", full)
    said = smalt("up", "--root", root, "--port", port, "--detach")
    assert (said.exit_code, said.stderr) == (1, "smalt: the disk is full\n")
    assert holder(root) is None and not alive(begun[0])
    monkeypatch.undo()
    monkeypatch.setattr(up, "programs", stand_ins)
    assert smalt("up", "--root", root, "--port", port, "--detach").exit_code == 0
    assert smalt("down", "--root", root).exit_code == 0


def test_a_database_that_does_not_answer_is_one_line_and_is_not_remembered(root: Path, port: int) -> None:
    url = f"postgresql://ada:s3cret@127.0.0.1:{port}/smalt"
    said = smalt("up", "--root", root, "--database", url, "--detach")
    assert said.exit_code == 1 and len(said.stderr.splitlines()) == 1
    assert said.stderr.startswith("smalt: the database does not answer: PostgreSQL at 127.0.0.1, database smalt")
    assert "s3cret" not in said.output
    assert read_settings(root).database_url == ""


def test_the_database_of_a_root_that_has_rows_stays(root: Path, port: int) -> None:
    root.mkdir()
    (root / "smalt.db").write_bytes(b"SQLite format 3\0")
    said = smalt("up", "--root", root, "--database", "postgresql://ada:s3cret@127.0.0.1:1/smalt", "--detach")
    assert said.exit_code == 1
    assert f"the rows of {root} are in sqlite:///{root}/smalt.db" in said.stderr
    assert "postgresql://ada@127.0.0.1:1/smalt they would not be found" in said.stderr
    assert not (root / "config.json").exists()


def test_a_running_platform_says_which_database_it_would_need_to_stop_for(root: Path, port: int) -> None:
    assert smalt("up", "--root", root, "--port", port, "--detach").exit_code == 0
    said = smalt("up", "--root", root, "--database", "postgresql://ada:s3cret@127.0.0.1:1/smalt", "--detach")
    assert said.exit_code == 1 and "database_url postgresql://ada@127.0.0.1:1/smalt" in said.stderr
    assert "s3cret" not in said.output


def test_a_password_does_not_stay_on_the_command_line(root: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Again(Exception):
        pass

    def execv(program: str, command: list[str]) -> None:
        raise Again(command)

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(up, "check_answers", lambda settings: None)
    url = "postgresql://ada:s3cret@db/smalt"
    said = smalt("up", "--root", root, "--port", port, "--database", url, "--detach")
    assert isinstance(said.exception, Again)
    assert said.exception.args[0][3:] == ["smalt.cli", "up", "--root", str(root), "--detach"]
    assert read_settings(root).database_url == url and holder(root) is None


def test_up_detached_is_ready_when_it_returns_and_down_stops_it(root: Path, port: int) -> None:
    said = smalt("up", "--root", root, "--port", port, "--detach")
    assert said.exit_code == 0, said.output
    assert f"https://localhost:{port}/login?code=" in said.stdout
    assert {"supervisor", "envoy"} == pids(root).keys()
    say(read_settings(root).needs_socket, "mlflow")
    until(lambda: {"supervisor", "envoy", "mlflow"} == pids(root).keys())
    # memory is the kernel's figure of this moment: a process that has just become its program has next to none
    until(lambda: all(one["rss_bytes"] > 1_000_000 for one in status(root)[1]["processes"]))  # type: ignore[attr-defined]
    code, document = status(root)
    assert code == 0
    assert list(document) == ["ready", "url", "version", "database", "store", "isolation", "ray", "processes", "tasks"]
    assert (document["ready"], document["url"]) == (True, f"https://localhost:{port}")
    for process in document["processes"]:  # type: ignore[attr-defined]
        assert list(process) == ["name", "pid", "rss_bytes", "restarts"]
        assert alive(process["pid"])
    running = pids(root)

    down = smalt("down", "--root", root)
    assert down.exit_code == 0, down.output
    assert any_alive(running.values()) == []
    assert status(root) == (3, {**document, "ready": False, "processes": []})
    again = smalt("down", "--root", root)
    assert (again.exit_code, "not running" in again.stdout) == (0, True)


def test_a_second_up_does_nothing_and_one_for_another_port_is_refused(root: Path, port: int) -> None:
    assert smalt("up", "--root", root, "--port", port, "--detach").exit_code == 0
    first = holder(root)
    for same in (["--detach"], [], ["--port", port]):
        said = smalt("up", "--root", root, *same)
        assert said.exit_code == 0, said.output
        assert f"already running at https://localhost:{port}" in said.stdout
    for other in (["--port", port + 1], ["--host", "ml.example"]):
        said = smalt("up", "--root", root, *other)
        assert said.exit_code == 1
        assert said.stderr.count("\n") == 1
        assert "smalt down" in said.stderr
    assert holder(root) == first
    assert read_settings(root).port == port


def test_of_two_at_the_same_moment_one_starts_and_the_other_finds_it_running(root: Path, port: int) -> None:
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), "up", "--root", str(root), "--port", str(port)]
    both = [subprocess.Popen([*command, "--detach"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(one.communicate(timeout=PATIENCE_S)[0].splitlines()[0] for one in both)
    assert [one.returncode for one in both] == [0, 0]
    assert said == [
        f"Smalt is already running at https://localhost:{port} (nothing was done).",
        f"Smalt is ready at https://localhost:{port}",
    ]


def test_a_port_in_use_is_one_clear_line_and_nothing_is_remembered(root: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Envoy listens
        taken.bind(("127.0.0.1", port))
        taken.listen()
        said = smalt("up", "--root", root, "--port", port, "--detach")
    assert said.exit_code == 1
    assert (
        said.stderr
        == f"smalt: port {port} is in use by {psutil.Process().name()} (process {os.getpid()}); choose another with --port.\n"
    )
    assert not (root / "config.json").exists()
    assert smalt("up", "--root", root, "--port", port, "--detach").exit_code == 0


def test_a_root_of_a_newer_version_is_refused(root: Path) -> None:
    root.mkdir()
    (root / "config.json").write_text('{"layout": 2, "host": "localhost", "port": 7443}')
    for command in (["up", "--detach"], ["down"], ["status"], ["env"], ["sp", "list"]):
        said = smalt(*command, "--root", root)
        assert said.exit_code == 1
        assert "newer Smalt" in said.stderr
        assert said.stderr.count("\n") == 1


def test_what_does_not_come_up_fails_with_the_end_of_its_log(
    root: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "programs", broken)
    said = smalt("up", "--root", root, "--port", port, "--detach")
    assert said.exit_code == 1
    assert "server ends as soon as it is started" in said.stderr
    assert "the database is gone" in said.stderr
    assert holder(root) is None


def test_up_starts_clean_after_its_supervisor_was_killed(root: Path, port: int) -> None:
    assert smalt("up", "--root", root, "--port", port, "--detach").exit_code == 0
    say(read_settings(root).needs_socket, "mlflow")
    until(lambda: "mlflow" in pids(root))
    before = pids(root)
    os.kill(before["supervisor"], signal.SIGKILL)
    until(lambda: not alive(before["supervisor"]))  # else it may still have its lock
    assert smalt("up", "--root", root, "--detach").exit_code == 0
    assert any_alive(before.values()) == []
    assert status(root)[0] == 0


def test_a_killed_program_is_counted_and_status_tells_when_nothing_answers(root: Path, port: int) -> None:
    assert smalt("up", "--root", root, "--port", port, "--detach").exit_code == 0
    front = pids(root)["envoy"]
    os.kill(front, signal.SIGSTOP)
    assert status(root)[0] == 3
    os.kill(front, signal.SIGKILL)
    until(lambda: status(root)[0] == 0)
    restarts = {one["name"]: one["restarts"] for one in status(root)[1]["processes"]}  # type: ignore[attr-defined]
    assert restarts["envoy"] == 1


def test_env_gives_the_owners_secret_also_when_the_platform_is_down(root: Path, port: int) -> None:
    before = smalt("env", "--root", root)
    assert (before.exit_code, before.stdout) == (1, "")
    assert smalt("up", "--root", root, "--port", port, "--detach").exit_code == 0
    running = smalt("env", "--root", root, "--shell", "json")
    assert smalt("down", "--root", root).exit_code == 0
    stopped = smalt("env", "--root", root, "--shell", "json")
    assert running.stdout == stopped.stdout
    variables = json.loads(stopped.stdout)
    assert variables["IDENTITY_HEADER"] == (root / "secrets" / "msi").read_text()
    assert variables["ARM_CLOUD_METADATA_URL"] == f"https://localhost:{port}/metadata/endpoints"


def test_up_in_the_foreground_runs_until_it_is_told_to_stop(root: Path, port: int) -> None:
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), "up", "--root", str(root), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"ready at https://localhost:{port}" in process.stdout.readline()
        assert holder(root) == process.pid
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(PATIENCE_S) == 0
    assert "Smalt has stopped" in rest
    assert holder(root) is None


def test_a_bad_option_is_refused_before_anything_is_made(root: Path) -> None:
    assert smalt("up", "--root", root, "--host", "no host").exit_code == 1
    assert smalt("up", "--root", root, "--port", 70000).exit_code == 2
    assert smalt("down", "--root", root, "--jobs", "burn").exit_code == 2
    assert smalt("env", "--root", root, "--shell", "csh").exit_code == 2
    assert not root.exists()


@pytest.mark.parametrize("command", [["--help"], ["env", "--help"], ["env", "--root", "ROOT"]])
def test_what_shells_wait_for_imports_nothing_slow(root: Path, port: int, command: list[str]) -> None:
    assert smalt("up", "--root", root, "--port", port, "--detach").exit_code == 0
    code = (
        "import sys; from smalt.cli.main import app; app(sys.argv[1:], standalone_mode=False);"
        "slow = {'asyncio', 'cryptography', 'httpx', 'joserfc', 'mlflow', 'rich', 'sqlalchemy', 'ssl', 'starlette'};"
        "print('slow:', sorted(slow & set(sys.modules)))"
    )
    arguments = [str(root) if one == "ROOT" else one for one in command]
    said = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "slow: []"
    assert len(said.splitlines()) > 5


SCRIPT = """
import json, os, sys
from pathlib import Path
names = ["ARM_CLOUD_METADATA_URL", "IDENTITY_HEADER", "REQUESTS_CA_BUNDLE", "MLFLOW_TRACKING_URI"]
Path(sys.argv[0]).with_name("seen.json").write_text(json.dumps({name: os.environ.get(name) for name in names}))
sys.exit(int(Path(sys.argv[0]).with_name("exit").read_text()))
"""


def test_quickstart_starts_the_platform_and_runs_the_users_script_as_its_client(
    root: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "ensure", lambda folder, cache, environment, say: Path(sys.executable))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://elsewhere")
    folder = root / "quickstart"
    folder.mkdir(parents=True)
    (folder / "churn.py").write_text(SCRIPT)
    (folder / "exit").write_text("0")
    said = smalt("quickstart", "--root", root, "--port", port)
    assert said.exit_code == 0, said.output
    assert json.loads((folder / "seen.json").read_text()) == {
        "ARM_CLOUD_METADATA_URL": f"https://localhost:{port}/metadata/endpoints",
        "IDENTITY_HEADER": (root / "secrets" / "msi").read_text(),
        "REQUESTS_CA_BUNDLE": str(root / "tls" / "bundle.pem"),
        "MLFLOW_TRACKING_URI": None,
    }
    assert (folder / "churn.py").read_text() == SCRIPT  # the user's own stays, and is said to
    assert f"{folder / 'churn.py'} has your changes" in said.stdout
    assert f"https://localhost:{port}/login?code=" in said.stdout
    assert (folder / "src" / "train_churn.py").exists()

    first = holder(root)
    (folder / "exit").write_text("7")
    again = smalt("quickstart", "--root", root)
    assert again.exit_code == 1
    assert "exit code 7" in again.stdout
    assert "it was running already" in again.stdout
    assert holder(root) == first
