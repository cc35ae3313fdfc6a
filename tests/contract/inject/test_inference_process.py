"""The server as a process of its own, under the interpreter that runs the tests and under old ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from live.inference import Unix, server
from live.patience import PATIENCE_S
from smalt.agent.wire import Address
from smalt.metrics import scrape


def test_a_script_is_served_in_its_folder_with_its_variables(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.until(200)
        assert stat.S_IMODE(one.socket.stat().st_mode) == 0o600
        status, body = one.post({"a": 1})
        assert status == 200
        assert json.loads(body) == {
            "got": {"a": 1},
            "cwd": str(tmp_path / "code"),
            "model": "/models/m",
            "beside": "found",
        }
        assert one.output() == "init here\n"
        assert one.post({"thread": 1}) == (200, b"true")


def test_what_it_counts_of_itself_is_taken_over(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.until(200)
        assert one.post({"raise": "x"})[0] == 424
        gate = tmp_path / "gate"
        asking = [threading.Thread(target=one.post, args=({"wait": str(gate)},))]
        asking[0].start()
        one.until_there(tmp_path / "gate.begun")
        asking.append(threading.Thread(target=one.post, args=({"queued": 1},)))
        asking[1].start()
        while scrape.ask({"": Address(f"unix:{one.socket}")})[""].in_flight < 2:
            time.sleep(0.01)
        held = time.perf_counter()
        while time.perf_counter() < held + 0.2:
            time.sleep(0.01)
        gate.touch()
        for thread in asking:
            thread.join(PATIENCE_S)
        said = scrape.ask({"": Address(f"unix:{one.socket}")})[""]
        new = {key.name: point for key, point in scrape.points("", said.counters)}
        assert abs(float(said.began) - time.time()) < 30 and said.in_flight == 0
        assert new["ModelFailures"].sum == 1
        assert (new["ModelBatchSize"].count, new["ModelBatchSize"].mean) == (3, 1)
        assert 200 <= new["ModelWait"].sum < 10_000, "one waited while the model was held"
        assert new["ModelLatency"].max >= 200, "and the model was held"


def test_the_servers_own_modules_do_not_hide_the_users(tmp_path: Path) -> None:
    script = "import config, app, metrics\ndef init(): pass\ndef run(x): return [config.A, app.A, metrics.A]\n"
    with server(tmp_path, script) as one:
        for name in ("config", "app", "metrics"):
            (tmp_path / "code" / f"{name}.py").write_text(f"A = '{name} of the user'\n")
        one.until(200)
        assert json.loads(one.post(1)[1]) == ["config of the user", "app of the user", "metrics of the user"]


@pytest.mark.parametrize("end", ["raise", "exit"])
def test_a_failing_run_is_424_and_the_next_request_is_answered(tmp_path: Path, end: str) -> None:
    with server(tmp_path) as one:
        one.until(200)
        assert one.post({end: "why it failed"})[0] == 424
        assert one.post({"a": 1})[0] == 200
        assert "Traceback" in one.errors()
        assert ("why it failed" if end == "raise" else "SystemExit: 5") in one.errors()


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("def init():\n    raise ValueError('no such model')\ndef run(x): pass\n", "ValueError: no such model"),
        ("import nothing_there\n", "ModuleNotFoundError: No module named 'nothing_there'"),
        ("def init(): pass\n", "does not define a run() function."),
        ("def init(): pass\ndef run(*a): pass\n", "run() cannot accept positional-only arguments, *args, or **kwargs."),
        ("def init(): pass\ndef run(): pass\n", "run() needs to accept an argument for input data."),
        ("import sys\ndef init(): sys.exit(0)\ndef run(x): pass\n", "SystemExit: 0"),
        ("def init(:\n", "SyntaxError: invalid syntax"),
    ],
)
def test_a_script_that_does_not_load_ends_the_process_with_the_reason_last(
    tmp_path: Path, script: str, last: str
) -> None:
    with server(tmp_path, script) as one:
        assert one.process.wait(PATIENCE_S) == 3
        assert one.errors().rstrip().splitlines()[-1].endswith(last)
        if "init():\n    raise" in script:
            assert 'score.py", line 2, in init' in one.errors()
            assert "process.py" not in one.errors(), "only the user's frames are shown"


def test_it_listens_while_it_loads_and_says_so(tmp_path: Path) -> None:
    script = f"""
import os, time
def init():
    while not os.path.exists({str(tmp_path / "go")!r}):
        time.sleep(0.01)
def run(raw_data):
    return 1
"""
    with server(tmp_path, script) as one:
        one.until(503)
        for path in ("/", "/ready", "/swagger.json"):
            assert one.ask("GET", path)[0] == 503
        assert one.ask("GET", "/health") == (200, b"Loading"), "a model that takes long is no dead process"
        assert one.post({})[0] == 503
        (tmp_path / "go").touch()
        one.until(200)
        assert one.post({}) == (200, b"1")


def test_sigterm_while_loading_ends_at_once(tmp_path: Path) -> None:
    with server(tmp_path, "import time\ndef init(): time.sleep(600)\ndef run(x): pass\n") as one:
        one.until(503)
        one.process.terminate()
        assert one.process.wait(PATIENCE_S) == 0


def test_sigterm_finishes_what_is_in_flight(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.until(200)
        idle = Unix(one.socket)
        idle.request("GET", "/")
        idle.getresponse().read()
        answers: list[tuple[int, bytes]] = []
        gate = tmp_path / "gate"
        asking = [threading.Thread(target=lambda: answers.append(one.post({"wait": str(gate)})))]
        asking[0].start()
        one.until_there(tmp_path / "gate.begun")
        asking.append(threading.Thread(target=lambda: answers.append(one.post({"queued": 1}))))
        asking[1].start()
        while b"in_flight 2" not in one.ask("GET", "/metrics")[1]:
            time.sleep(0.01)
        one.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + PATIENCE_S
        while one.socket.exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert not one.socket.exists(), "the socket goes first"
        assert one.process.poll() is None
        gate.touch()
        for thread in asking:
            thread.join(PATIENCE_S)
        assert [status for status, _ in answers] == [200, 200]
        assert one.process.wait(PATIENCE_S) == 0
        with pytest.raises(OSError):
            Unix(one.socket).connect()


def test_sigterm_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    with server(tmp_path, drain_s=0.5) as one:
        one.until(200)
        failures: list[OSError] = []

        def ask() -> None:
            try:
                one.post({"wait": str(tmp_path / "never")})
            except OSError as ex:
                failures.append(ex)

        asking = threading.Thread(target=ask)
        asking.start()
        one.until_there(tmp_path / "never.begun")
        one.process.terminate()
        assert one.process.wait(PATIENCE_S) == 0
        asking.join(PATIENCE_S)
        assert len(failures) == 1


@pytest.mark.parametrize("how", ["sleep", "spin"])
def test_a_request_over_its_time_is_408_and_frees_the_worker(tmp_path: Path, how: str) -> None:
    with server(tmp_path, request_timeout_s=1.0) as one:
        one.until(200)
        began = time.monotonic()
        assert one.post({how: 600})[0] == 408
        assert one.post({"a": 1})[0] == 200
        assert time.monotonic() - began < 60


def test_a_waiting_request_over_its_time_is_408_without_being_run(tmp_path: Path) -> None:
    with server(tmp_path, request_timeout_s=0.4, max_concurrent=2) as one:
        one.until(200)
        gate = str(tmp_path / "gate")
        answers: list[int] = []
        asking = [threading.Thread(target=lambda: answers.append(one.post({"wait": gate})[0])) for _ in range(5)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(PATIENCE_S)
        assert answers == [408] * 5
        assert b'requests_total{code="408"} 5' in one.ask("GET", "/metrics")[1]


def test_scoring_timeout_ends_calls_in_every_thread(tmp_path: Path) -> None:
    with server(tmp_path, variables={"SCORING_TIMEOUT_MS": "600", "WORKER_COUNT": "3"}) as one:
        one.until(200)
        answers: list[tuple[int, bytes]] = []
        asking = [threading.Thread(target=lambda: answers.append(one.post({"spin": 20}))) for _ in range(3)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(PATIENCE_S)
        assert answers == [(424, b'{"message": "Scoring timeout after 600 ms"}')] * 3
        assert [one.post({"a": at})[0] for at in range(6)] == [200] * 6


def test_max_concurrent_is_the_number_of_calls_at_once(tmp_path: Path) -> None:
    with server(tmp_path, max_concurrent=3) as one:
        one.until(200)
        gates = [tmp_path / f"gate{at}" for at in range(4)]
        asking = [threading.Thread(target=one.post, args=({"wait": str(gate)},)) for gate in gates]
        for thread, gate in zip(asking[:3], gates, strict=False):
            thread.start()
            one.until_there(Path(f"{gate}.begun"))
        asking[3].start()
        while b"in_flight 4" not in one.ask("GET", "/metrics")[1]:
            time.sleep(0.01)
        assert not Path(f"{gates[3]}.begun").exists()
        gates[0].touch()
        one.until_there(Path(f"{gates[3]}.begun"))
        for gate in gates:
            gate.touch()
        for thread in asking:
            thread.join(PATIENCE_S)


def test_a_client_that_leaves_is_not_scored_any_more(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.until(200)
        gate = tmp_path / "gate"
        first = threading.Thread(target=one.post, args=({"wait": str(gate)},))
        first.start()
        one.until_there(tmp_path / "gate.begun")
        leaving = Unix(one.socket)
        leaving.request("POST", "/score", json.dumps({"wait": str(tmp_path / "left")}))
        while b"in_flight 2" not in one.ask("GET", "/metrics")[1]:
            time.sleep(0.01)
        leaving.close()
        while b'requests_total{code="499"} 1' not in one.ask("GET", "/metrics")[1]:
            time.sleep(0.01)
        gate.touch()
        first.join(PATIENCE_S)
        assert one.post({"a": 1})[0] == 200
        assert not (tmp_path / "left.begun").exists()


def test_health_is_answered_while_the_model_works(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.until(200)
        asking = threading.Thread(target=one.post, args=({"wait": str(tmp_path / "gate")},))
        asking.start()
        one.until_there(tmp_path / "gate.begun")
        assert one.ask("GET", "/") == (200, b"Healthy")
        (tmp_path / "gate").touch()
        asking.join(PATIENCE_S)


def test_a_body_over_the_limit_is_413(tmp_path: Path) -> None:
    with server(tmp_path, max_body_bytes=1000) as one:
        one.until(200)
        assert one.post("x" * 2000)[0] == 413
        assert one.post("x" * 900)[0] == 200


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        ({"mode": "other"}, "mode must be 'script' or 'mlflow'"),
        ({"entry_script": ""}, "needs entry_script"),
        ({"mode": "mlflow", "model_dir": ""}, "needs model_dir"),
    ],
)
def test_a_launch_file_that_cannot_be_used_is_one_clear_line(tmp_path: Path, launch: dict, said: str) -> None:
    with server(tmp_path, **launch) as one:
        assert one.process.wait(PATIENCE_S) == 2
        assert one.errors().count("\n") == 1
        assert said in one.errors()


def test_what_is_not_a_socket_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "s.sock").write_text("precious")
    with server(tmp_path) as one:
        assert one.process.wait(PATIENCE_S) == 2
        assert (tmp_path / "s.sock").read_text() == "precious"


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "s.sock"))
    stale.close()
    with server(tmp_path) as one:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if one.ask("GET", "/")[0] == 200:
                    break
            except OSError:
                time.sleep(0.02)
        assert one.post({"a": 1})[0] == 200


def test_the_access_log_is_off_unless_asked_for(tmp_path: Path) -> None:
    with server(tmp_path, access_log=True) as one:
        one.until(200)
        one.post({"a": 1})
        assert "POST /score 200 " in one.errors()


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.12", "3.13", "3.14"])
def test_every_interpreter_that_this_machine_has(tmp_path: Path, version: str) -> None:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [str(path) for path in pyenv.glob(f"versions/{version}.*/bin/python")] or [shutil.which(f"python{version}")]
    if found[0] is None:
        pytest.skip(f"this machine has no Python {version}")
    python = found[0]
    with server(tmp_path, python=python, request_timeout_s=1.0, max_concurrent=2) as one:
        one.until(200)
        assert one.post({"a": 1})[0] == 200
        assert one.post({"raise": "x"})[0] == 424
        assert one.post({"sleep": 10})[0] == 408
        assert one.ask("GET", "/swagger.json?version=3")[0] == 200
        one.process.terminate()
        assert one.process.wait(PATIENCE_S) == 0
