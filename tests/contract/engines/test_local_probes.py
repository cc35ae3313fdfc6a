"""Servers as tasks: readiness is seen at once, and followed; a dead server is ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from smalt.agent.wire import Outcome, Phase, Probe

SERVER = """
import http.server, os, signal, socketserver, sys, time
path, delay = sys.argv[1], float(sys.argv[2])
time.sleep(delay)
broken = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/hang" or "hang" in broken:
            time.sleep(60)
        self.send_response(503 if broken else 200)
        self.end_headers()
        self.wfile.write(b"well")
    def address_string(self):
        return "unix"
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
signal.signal(signal.SIGUSR1, lambda *_: broken.append("broken"))
signal.signal(signal.SIGUSR2, lambda *_: broken.clear())
print("listening", flush=True)
Server(path, Handler).serve_forever()
"""


def server(local: Any, sockets: Path, name: str = "t", delay: float = 0, **values: Any) -> Any:
    (local.root / "server.py").write_text(SERVER)
    argv = [sys.executable, str(local.root / "server.py"), str(sockets), str(delay)]
    task = local.task(name, argv=argv, grace_s=5, **values)
    local.engine.ensure(task)
    return task


def test_ready_as_soon_as_it_answers_and_no_sooner(local: Any, tmp_path: Path) -> None:
    probe = Probe(str(tmp_path / "x.sock"), "/healthz", initial_delay_s=10, period_s=10)
    before = time.monotonic()
    server(local, tmp_path / "x.sock", delay=0.5, ready=probe)
    assert local.changes.running("t").ready is False
    state = local.changes.until("t", lambda state: state.ready)
    assert 0.5 <= time.monotonic() - before < 5
    assert state.phase is Phase.RUNNING
    local.engine.stop("t", 5)
    ended = local.changes.ended("t")
    assert ended.outcome is Outcome.STOPPED
    assert ended.ready is False


def test_readiness_goes_and_comes_back(local: Any, tmp_path: Path) -> None:
    probe = Probe(str(tmp_path / "x.sock"), period_s=0.1, failure_threshold=2)
    server(local, tmp_path / "x.sock", ready=probe)
    state = local.changes.until("t", lambda state: state.ready)
    signal_task(state.pid, "USR1")
    local.changes.until("t", lambda state: not state.ready)
    signal_task(state.pid, "USR2")
    assert local.changes.until("t", lambda state: state.ready).phase is Phase.RUNNING


def test_a_server_that_is_not_alive_is_ended_and_says_why(local: Any, tmp_path: Path) -> None:
    live = Probe(str(tmp_path / "x.sock"), "/live", period_s=0.1, failure_threshold=3, timeout_s=1)
    server(local, tmp_path / "x.sock", ready=Probe(str(tmp_path / "x.sock")), live=live)
    state = local.changes.until("t", lambda state: state.ready)
    signal_task(state.pid, "USR1")
    ended = local.changes.ended("t")
    assert ended.outcome is Outcome.EXITED
    assert "Liveness probe failed 3 times in a row (GET /live: it answered 503)" in ended.error
    assert ended.error.endswith("listening")
    assert ended.exit_code == 143


def test_a_server_that_hangs_is_ended(local: Any, tmp_path: Path) -> None:
    live = Probe(
        str(tmp_path / "x.sock"), "/hang", initial_delay_s=0.3, period_s=0.1, failure_threshold=2, timeout_s=0.2
    )
    server(local, tmp_path / "x.sock", live=live)
    assert "no answer within 0.2 s" in local.changes.ended("t").error


def test_a_server_that_crashes_while_starting(local: Any, tmp_path: Path) -> None:
    state, _ = local.run(
        argv=[sys.executable, "-c", "raise ImportError('no module named x')"],
        ready=Probe(str(tmp_path / "x.sock")),
        live=Probe(str(tmp_path / "x.sock")),
    )
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 1)
    assert state.error.endswith("ImportError: no module named x")


def test_waiting_for_a_slow_server_costs_nothing(local: Any, tmp_path: Path) -> None:
    server(
        local,
        tmp_path / "x.sock",
        delay=60,
        ready=Probe(str(tmp_path / "x.sock")),
        live=Probe(str(tmp_path / "x.sock")),
    )
    state = local.changes.running("t")
    before = cpu_s(state.agent_pid)
    time.sleep(1.5)
    assert cpu_s(state.agent_pid) - before <= 0.05


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


def signal_task(pid: int, name: str) -> None:
    os.kill(pid, getattr(signal, f"SIG{name}"))
