"""A real platform for tests: started by `smalt up`, reached through its one TLS port, every process of it killable.

Everything here is what a user or an operator could do: commands, requests, signals. Nothing reaches into the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

from live import downloads
from live.clients import clean_environment
from live.files import files_below
from live.patience import ANSWER_S, PATIENCE_S
from live.ports import free_port
from live.processes import working_on
from smalt.agent.processes import kill_and_wait
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Settings

Value = TypeVar("Value")
API = "2024-04-01"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
HOME = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
TERMINAL = {"Completed", "Failed", "Canceled"}


class Platform:
    """One platform on one root. Not started by making it."""

    def __init__(self, root: Path, port: int | None = None) -> None:
        self.root = root
        self.port = port or free_port()
        self.url = f"https://localhost:{self.port}"
        self._session = requests.Session()
        self._token = ("", 0.0)
        self._variables: dict[str, str] = {}

    # commands

    def smalt(self, *arguments: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run a command on this root. Its exit code is the caller's to check."""
        command = [sys.executable, "-m", "smalt.cli", *arguments, "--root", str(self.root)]
        return subprocess.run(
            command, env=clean_environment(), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def up(self, *more: str) -> None:
        """Returns when the platform is ready. `more` options of `smalt up`."""
        downloads.share(self.root)
        done = self.smalt("up", "--port", str(self.port), "--detach", *more)
        assert done.returncode == 0, f"smalt up failed: {done.stdout}{done.stderr}\n{self.log('supervisor')}"

    def down(self) -> None:
        done = self.smalt("down")
        assert done.returncode == 0, f"smalt down failed: {done.stdout}{done.stderr}"

    def end(self) -> None:
        """Stop it and whatever is left of this root: agents, jobs, replicas."""
        if (self.root / "config.json").exists():
            self.smalt("down")
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def status(self) -> dict[str, Any]:
        return json.loads(self.smalt("status", "--json").stdout)

    def login_link(self) -> str:
        """A second `up` is a no-op that prints a new link."""
        said = self.smalt("up", "--detach").stdout
        found = re.search(r"https://\S+/login\?code=\S+", said)
        assert found, said
        return found.group()

    def shared(self) -> Path:
        """A new folder that this process and the jobs of the default workspace see at the same path: in their HOME."""
        home = Settings(self.root).home(HOME.lower())
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=home))

    @property
    def variables(self) -> dict[str, str]:
        if not self._variables:  # they stay what they are as long as the port does
            done = self.smalt("env", "--shell", "json")
            assert done.returncode == 0, done.stderr
            self._variables = json.loads(done.stdout)
        return self._variables

    def log(self, name: str, characters: int = 4000) -> str:
        """The end of a process's log, for messages."""
        path = self.root / "logs" / f"{name}.log"
        return path.read_text(errors="replace")[-characters:] if path.exists() else ""

    # processes

    def pid(self, name: str) -> int:
        """Of a program that runs now (`server`, `envoy`, `mlflow`) or of the `supervisor`; 0 where it does not run."""
        view = json.loads((Settings(self.root).run / "supervisor.json").read_text())
        if name == "supervisor":
            return int(view["pid"])
        return next((one["pid"] or 0 for one in view["processes"] if one["name"] == name), 0)

    def kill(self, name: str) -> int:
        """`kill -9`; returns the process id that is gone now."""
        pid = self.pid(name)
        assert pid, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_all(self) -> None:
        """`kill -9` of the supervisor and all its programs, at one moment; returns when they are gone."""
        pids = [self.pid(name) for name in ("supervisor", "server", "envoy", "mlflow")]
        kill_and_wait(pid for pid in pids if pid)

    def restarted(self, name: str, before: int) -> int:
        """Wait until the program runs under another process id, and return that. Repeated deaths delay it up to 15 s."""
        return eventually(lambda: (now := self.pid(name)) and now != before and now, f"{name} again", pause_s=0.02)

    def is_up(self) -> bool:
        """Whether a supervisor runs (what it supervises may be down for a moment)."""
        try:
            return "smalt" in " ".join(psutil.Process(self.pid("supervisor")).cmdline())
        except (OSError, ValueError, psutil.Error):
            return False

    def wait_until_it_answers(self) -> None:
        """It does when it answers a request that reads the database."""

        def answers() -> bool:
            try:
                return self.call("GET", "", timeout_s=5).status_code == 200
            except (requests.RequestException, AssertionError):  # AssertionError: no token is to be had
                return False

        eventually(answers, "an answer")

    def processes(self) -> list[psutil.Process]:
        """Every process that works on this root, by its command line, working folder or variables: ours never is."""
        found: list[psutil.Process] = []
        for pid in working_on(self.root):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(pid))
        return found

    def files(self, below: str = "") -> Iterator[Path]:
        """Its plain files, as they come and go while it runs."""
        return files_below(self.root / below)

    def agents(self) -> dict[str, dict[str, Any]]:
        """The state file of each task that an agent looks after or looked after, by the task's name."""
        found: dict[str, dict[str, Any]] = {}
        for path in (self.root / "tasks").glob("*/state.json"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                state = json.loads(path.read_text())
                found[state["name"]] = state
        return found

    # requests

    def token(self, resource: str = "") -> str:
        """From the managed-identity endpoint, as the owner of the root. `resource`: the audience, ARM's by default."""
        answer = requests.get(
            f"{self.url}/msi/token",
            params={"api-version": "2019-08-01", "resource": resource or self.url},
            headers={"X-IDENTITY-HEADER": self.variables["IDENTITY_HEADER"]},
            verify=self.ca,
            timeout=ANSWER_S,
        )
        answer.raise_for_status()
        return answer.json()["access_token"]

    @property
    def ca(self) -> str:
        return str(self.root / "tls" / "ca.pem")

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_S,
    ) -> requests.Response:
        """One request with the owner's token. `path` from the workspace unless it begins with a slash."""
        if self._token[1] < time.monotonic():
            self._token = (self.token(), time.monotonic() + 600)
        full = path if path.startswith("/") else f"{HOME}/{path}"
        mark = "&" if "?" in full else "?"
        return self._session.request(
            method,
            f"{self.url}{full}{mark}api-version={API}",
            json=body,
            verify=self.ca,
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {self._token[0]}", **(headers or {})},
        )

    def get(self, path: str) -> dict[str, Any]:
        answer = self.call("GET", path)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def put(self, path: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
        """PUT, and wait for the end of the operation if there is one."""
        answer = self.call("PUT", path, {"properties": properties, **more})
        assert answer.status_code in (200, 201), f"PUT {path}: {answer.status_code} {answer.text}"
        self.finish(answer)
        return answer.json()

    def finish(self, answer: requests.Response, timeout_s: float = 240) -> dict[str, Any]:
        """The document of an answer's operation once it has ended."""
        url = answer.headers.get("Azure-AsyncOperation", "")
        if not url:
            return {"status": "Succeeded"}
        path = url.removeprefix(self.url).partition("?")[0]

        def ended() -> dict[str, Any] | None:
            document = self.get(path)
            return document if document["status"] not in ("InProgress", "Running") else None

        return eventually(ended, f"the operation {path}", timeout_s)

    # jobs, in the plainest environment there is

    def ensure_environment(self) -> str:
        """An environment with Python alone; its id."""
        if self.call("GET", "environments/plain/versions/1").status_code != 200:
            self.put("environments/plain/versions/1", {"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"})
        return f"{HOME}/environments/plain/versions/1"

    def upload_code(self, name: str, file: str, data: bytes) -> str:
        """A code asset of one file; its id."""
        path = f"codes/{name}/versions/1"
        if self.call("GET", path).status_code != 200:
            upload = self.call("POST", f"{path}/startPendingUpload", {}).json()["blobReferenceForConsumption"]
            base, _, sas = upload["credential"]["sasUri"].partition("?")
            sent = requests.put(
                f"{base}/{file}?{sas}",
                data=data,
                verify=self.ca,
                timeout=ANSWER_S,
                headers={"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"},
            )
            assert sent.status_code == 201, sent.text
            self.put(path, {"codeUri": base})
        return f"{HOME}/{path}"

    def submit(self, name: str, command: str, **properties: Any) -> requests.Response:
        """A command job in the plain environment, serverless unless `computeId` is given."""
        wanted = {"jobType": "Command", "command": command, "environmentId": self.ensure_environment(), **properties}
        return self.call("PUT", f"jobs/{name}", {"properties": wanted})

    def job(self, name: str) -> dict[str, Any]:
        """The properties of a job."""
        return self.get(f"jobs/{name}")["properties"]

    def wait_for(self, name: str, *states: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The job's properties once it is in one of `states`; fails at once where it ended in another."""

        def there() -> dict[str, Any] | None:
            found = self.job(name)
            if found["status"] in states:
                return found
            assert found["status"] not in TERMINAL, f"job {name} ended as {found['status']}: {self.job_error(name)}"
            return None

        return eventually(there, f"job {name} being {' or '.join(states)}", timeout_s)

    def job_error(self, name: str) -> str:
        details = self.get(f"/history/v1.0{HOME}/runs/{name}/details")
        return str(((details.get("error") or {}).get("error") or {}).get("message", ""))

    def job_log(self, name: str, log: str = "user_logs/std_log.txt") -> str:
        """What a job printed so far, as the client reads it: through the URL in the run's details."""
        url = self.get(f"/history/v1.0{HOME}/runs/{name}/details")["logFiles"].get(log)
        return requests.get(url, verify=self.ca, timeout=ANSWER_S).text if url else ""

    @contextlib.contextmanager
    def started(self, *more: str) -> Iterator[Platform]:
        try:
            self.up(*more)
            yield self
        finally:
            self.end()


def eventually(
    check: Callable[[], Value | None], what: str, timeout_s: float = PATIENCE_S, pause_s: float = 0.05
) -> Value:
    """What `check` returns once that is true. `pause_s` between looks.

    AssertionError where it is not true in a look that began after `timeout_s`: one that took long is not the last.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        last = time.monotonic() >= deadline
        if value := check():
            return value
        assert not last, f"waited {timeout_s:g} s for {what}"
        time.sleep(pause_s)


def seconds_until(check: Callable[[], object], what: str) -> float:
    """From now until `check` is true. What is promised is the least of several: a machine may stand still in one."""
    began = time.monotonic()
    eventually(check, what, pause_s=0.02)
    return time.monotonic() - began
