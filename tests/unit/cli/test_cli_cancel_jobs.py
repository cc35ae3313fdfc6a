"""`smalt down --jobs cancel`: every job that has not ended is cancelled and waited for, over pages and workspaces."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from smalt.auth.certificates import ensure_certificates
from smalt.auth.tokens import TokenService
from smalt.cli.jobs import cancel_all
from smalt.cli.root import CliError, prepare
from smalt.settings import Settings

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
PROVIDER = "providers/Microsoft.MachineLearningServices"
WORKSPACE = f"{SUBSCRIPTION}/resourceGroups/smalt/{PROVIDER}/workspaces/"


class Api(http.server.ThreadingHTTPServer):
    """Two workspaces with jobs, one job a page. A cancelled job ends when it is asked about for the second time."""

    settings: Settings
    tokens: TokenService
    stuck = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        names = {"one": ["done", "running", "notebook", "queued"], "two": ["slow"]}
        self.jobs = {f"{WORKSPACE}{space}/jobs/{name}": "Running" for space in names for name in names[space]}
        self.jobs[f"{WORKSPACE}one/jobs/done"] = "Completed"
        self.cancelled: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        if not self._known():
            return
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == f"{SUBSCRIPTION}/{PROVIDER}/workspaces":
            self._answer(200, {"value": [{"id": WORKSPACE + name} for name in ("one", "two")]})
        elif path.endswith("/jobs"):
            self._page(path, int(query.get("skip", ["0"])[0]))
        else:
            self._job(path)

    def do_POST(self) -> None:
        if not self._known():
            return
        job = urlsplit(self.path).path.removesuffix("/cancel")
        if self.server.jobs[job] == "Completed":
            self._answer(409, {"error": {"code": "Conflict"}})
            return
        self.server.cancelled.append(job)
        self.server.jobs[job] = "CancelRequested"
        self._answer(202, {})

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _known(self) -> bool:
        token = self.headers["Authorization"].removeprefix("Bearer ")
        return self.server.tokens.verify(token, [self.server.settings.url]).kind == "owner"

    def _page(self, path: str, skip: int) -> None:
        jobs = [job for job in self.server.jobs if job.startswith(path)]
        command = "" if jobs[skip].endswith("/notebook") else "python t.py"  # a run of MLflow's, outside of jobs
        one = {"id": jobs[skip], "properties": {"status": self.server.jobs[jobs[skip]], "command": command}}
        more = f"{self.server.settings.url}{path}?skip={skip + 1}"
        self._answer(200, {"value": [one], **({"nextLink": more} if skip + 1 < len(jobs) else {})})

    def _job(self, job: str) -> None:
        status = self.server.jobs[job]
        if status == "CancelRequested" and not self.server.stuck:
            self.server.jobs[job] = "Canceled"
        self._answer(200, {"id": job, "properties": {"status": status}})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    server = Api()
    server.settings = Settings(tmp_path / "root", port=server.server_port)
    prepare(server.settings)
    files = ensure_certificates(server.settings)
    server.tokens = TokenService(server.settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.server_key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_has_not_ended_is_cancelled_and_waited_for(api: Api) -> None:
    assert sorted(cancel_all(api.settings)) == [("queued", "Canceled"), ("running", "Canceled"), ("slow", "Canceled")]
    assert sorted(job.rpartition("/")[2] for job in api.cancelled) == ["queued", "running", "slow"]
    assert {job.rpartition("/")[2] for job, status in api.jobs.items() if status == "Running"} == {"notebook"}
    assert cancel_all(api.settings) == []


def test_a_job_that_does_not_end_is_named(api: Api) -> None:
    api.stuck = True
    with pytest.raises(CliError, match="job running is still CancelRequested"):
        cancel_all(api.settings, patience_s=0.3)


def test_a_platform_that_does_not_answer_is_told(api: Api) -> None:
    elsewhere = Settings(api.settings.root, port=1)
    with pytest.raises(CliError, match="could not be cancelled"):
        cancel_all(elsewhere)
