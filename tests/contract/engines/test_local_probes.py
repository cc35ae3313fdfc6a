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
path, delay = os.environ["SMALT_LISTEN"].removeprefix("unix:"), float(sys.argv[1])
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
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("listening", flush=True)
Server(path, Handler).serve_forever()
"""


def server(local: Any, name: str = "t", delay: float = 0, deaf: bool = False, **values: Any) -> Any:
    (local.root / "server.py").write_text(SERVER)
    argv = [sys.executable, str(local.root / "server.py"), str(delay), *(["deaf"] if deaf else [])]
    task = local.task(name, argv=argv, **{"grace_s": 5, **values})
    local.engine.ensure(task)
    return task


def test_ready_as_soon_as_it_answers_and_no_sooner(local: Any) -> None:
    probe = Probe("/healthz", initial_delay_s=600, period_s=600)
    before = time.monotonic()
    server(local, delay=0.5, ready=probe)
    assert local.changes.running("t").ready is False
    state = local.changes.until("t", lambda state: state.ready)
    assert time.monotonic() - before >= 0.5
    assert state.phase is Phase.RUNNING
    local.engine.stop("t", 5)
    ended = local.changes.ended("t")
    assert ended.outcome is Outcome.STOPPED
    assert ended.ready is False


def test_readiness_goes_and_comes_back(local: Any) -> None:
    probe = Probe(period_s=0.1, failure_threshold=2)
    server(local, ready=probe)
    state = local.changes.until("t", lambda state: state.ready)
    signal_task(state.pid, "USR1")
    local.changes.until("t", lambda state: not state.ready)
    signal_task(state.pid, "USR2")
    assert local.changes.until("t", lambda state: state.ready).phase is Phase.RUNNING


def test_a_server_that_is_not_alive_is_ended_and_says_why(local: Any) -> None:
    live = Probe("/live", initial_delay_s=4, period_s=0.1, failure_threshold=3, timeout_s=1)
    server(local, ready=Probe(), live=live)
    state = local.changes.until("t", lambda state: state.ready)
    signal_task(state.pid, "USR1")
    ended = local.changes.ended("t")
    assert ended.outcome is Outcome.EXITED
    assert "Liveness probe failed 3 times in a row (GET /live: it answered 503)" in ended.error
    assert ended.error.endswith("listening")
    assert ended.exit_code == 143


def test_a_server_that_hangs_is_ended(local: Any) -> None:
    live = Probe("/hang", initial_delay_s=3, period_s=0.1, failure_threshold=2, timeout_s=0.2)
    server(local, live=live)
    assert "no answer within 0.2 s" in local.changes.ended("t").error


def test_one_that_is_not_alive_has_no_requests_any_more_and_little_time(local: Any) -> None:
    live = Probe("/live", initial_delay_s=2, period_s=0.1, failure_threshold=3, timeout_s=1)
    server(local, deaf=True, ready=Probe(), live=live, grace_s=600)
    state = local.changes.until("t", lambda state: state.ready)
    signal_task(state.pid, "USR1")
    assert local.changes.until("t", lambda state: not state.ready).phase is Phase.RUNNING
    assert local.changes.ended("t").exit_code == 137


def test_a_server_that_crashes_while_starting(local: Any) -> None:
    state, _ = local.run(
        argv=[sys.executable, "-c", "raise ImportError('no module named x')"],
        ready=Probe(),
        live=Probe(),
    )
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 1)
    assert state.error.endswith("ImportError: no module named x")


def test_waiting_for_a_slow_server_costs_nothing(local: Any) -> None:
    server(
        local,
        delay=60,
        ready=Probe(),
        live=Probe(),
    )
    state = local.changes.running("t")
    spent: list[float] = []
    while not spent or (min(spent) > 0.05 and len(spent) < 3):  # the first look may meet the end of its start
        before = cpu_s(state.agent_pid)
        time.sleep(1.5)
        spent.append(cpu_s(state.agent_pid) - before)
    assert min(spent) <= 0.05


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


def signal_task(pid: int, name: str) -> None:
    os.kill(pid, getattr(signal, f"SIG{name}"))
