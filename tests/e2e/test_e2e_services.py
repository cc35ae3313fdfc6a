"""Services of a job on a real platform: through Envoy with a token or a link, a WebSocket, SSH with the job's key."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from live.clients import clean_environment
from live.patience import ANSWER_S, PATIENCE_S
from live.platform import HOME, Platform, eventually
from live.ports import free_port
from smalt.auth.login_links import LoginLinks
from smalt.settings import Settings

pytestmark = pytest.mark.e2e

# An HTTP server that says who came, and echoes what comes after an upgrade.
PROGRAM = """
import socketserver, sys
class One(socketserver.StreamRequestHandler):
    def handle(self):
        head = b"".join(iter(self.rfile.readline, b"\\r\\n"))
        if b"upgrade: websocket" in head.lower():
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n")
            while data := self.connection.recv(100):
                self.wfile.write(data.upper())
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\nSet-Cookie: theirs=1\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(head), head))
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), One).serve_forever()
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")).started() as one:
        yield one


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("keys") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place)], check=True)
    return place


@pytest.fixture(scope="module")
def served(platform: Platform, key: Path) -> Iterator[dict[str, Any]]:
    """The services of a job that runs."""
    port, script = free_port(), platform.shared() / "serve.py"
    script.write_text(PROGRAM)
    script.chmod(0o644)
    services = {
        "my_app": {"jobServiceType": "Custom", "port": port},
        "shell": {"jobServiceType": "SSH", "properties": {"sshPublicKeys": key.with_suffix(".pub").read_text()}},
        "board": {"jobServiceType": "TensorBoard", "properties": {"logDir": "outputs"}},
        "code": {"jobServiceType": "VSCode"},
    }
    answer = platform.submit("served", f"echo begun; exec python {script} {port}", services=services)
    assert answer.status_code == 201, answer.text

    def running() -> dict[str, Any] | None:
        found = shown(platform)
        return found if found["my_app"]["status"] == "Running" else None

    yield eventually(running, "the service")


def shown(platform: Platform) -> dict[str, Any]:
    return platform.get(f"/history/v1.0{HOME}/runs/served/serviceinstances/0")["instances"]


def ask(platform: Platform, url: str, more: bytes = b"", **headers: str) -> tuple[int, str, ssl.SSLSocket]:
    """One request to a service, whose name not every resolver knows; also the connection, for what comes after."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=platform.ca)
    line = context.wrap_socket(
        socket.create_connection(("localhost", platform.port), ANSWER_S), server_hostname=parts.hostname
    )
    named = {"Host": parts.netloc, **{name.replace("_", "-"): value for name, value in headers.items()}}
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    head = "\r\n".join([f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())])
    line.sendall(head.encode() + b"\r\n\r\n" + more)
    said = b""
    while b"\r\n\r\n" not in said and (data := line.recv(65536)):
        said += data
    return int(said.split()[1]), said.decode(), line


def test_each_service_says_how_it_is(platform: Platform, served: dict[str, Any]) -> None:
    assert served["shell"]["status"] == "Running"
    for name, why in (("board", "pip package 'tensorboard'"), ("code", "code-server")):
        assert served[name]["status"] == "Failed" and why in served[name]["error"]["error"]["message"]
    mine = platform.job("served")["services"]["my_app"]
    assert mine["status"] == "Running" and mine["endpoint"] == served["my_app"]["endpoint"]


def test_a_token_opens_it_through_the_gateway_and_stays_outside(platform: Platform, served: dict[str, Any]) -> None:
    url = served["my_app"]["endpoint"]
    assert ask(platform, url)[0] == 401
    status, said, _ = ask(platform, f"{url}a?b=c", Authorization=f"Bearer {platform.token()}", Cookie="own=1")
    assert status == 200 and "GET /a?b=c HTTP/1.1" in said and "own=1" in said and "Bearer" not in said
    assert ask(platform, url.replace("my-app-2", "my-app-9"), Authorization=f"Bearer {platform.token()}")[0] in (
        404,
        409,
    )
    api = ask(
        platform, f"https://x.services.localhost:{platform.port}{HOME}", Authorization=f"Bearer {platform.token()}"
    )
    assert api[0] == 404, "the platform's own routes are not at these names"


def test_a_browser_comes_by_a_link_and_a_websocket_goes_on(platform: Platform, served: dict[str, Any]) -> None:
    url = served["my_app"]["endpoint"]
    found = json.loads(platform.smalt("services", "served", "--json").stdout)
    assert found["shell"]["status"] == "Running"
    status, said, _ = ask(platform, found["my_app"]["link"])
    assert status == 303, said
    cookie = (
        next(one for one in said.split("\r\n") if one.lower().startswith("set-cookie: ")).split(": ")[1].split(";")[0]
    )
    assert ask(platform, found["my_app"]["link"])[0] == 401
    assert ask(platform, url, Cookie=cookie)[0] == 200
    assert ask(platform, url, Cookie=cookie, Origin="https://evil.example")[0] == 403
    upgrade = {
        "Cookie": cookie,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": base64.b64encode(os.urandom(16)).decode(),
    }
    assert ask(platform, url, **upgrade)[0] == 403
    status, said, line = ask(platform, url, Origin=url.rstrip("/"), **upgrade)
    assert status == 101, said
    for word in (b"one", b"two"):
        line.sendall(word)
        assert line.recv(100) == word.upper()
    line.close()


def test_a_browser_that_is_logged_in_is_led_to_it(platform: Platform, served: dict[str, Any]) -> None:
    url = served["my_app"]["endpoint"]
    status, said, _ = ask(platform, f"{url}deep?x=1", Accept="text/html")
    assert status == 302
    there = header(said, "location")
    assert there.startswith(f"{platform.url}/services/open?") and ask(platform, there, Accept="text/html")[0] == 401
    session = header(ask(platform, LoginLinks(Settings(platform.root, port=platform.port)).mint())[1], "set-cookie")
    status, said, _ = ask(platform, there, Cookie=session.split(";")[0])
    assert status == 303 and header(said, "location").startswith(url)
    status, said, _ = ask(platform, header(said, "location"))
    assert status == 303 and header(said, "location") == "/deep?x=1"
    status, said, _ = ask(platform, f"{url}deep?x=1", Cookie=header(said, "set-cookie").split(";")[0])
    assert status == 200 and "GET /deep?x=1" in said and "__Host-" not in said


def header(said: str, name: str) -> str:
    return next(one for one in said.split("\r\n") if one.lower().startswith(f"{name}: ")).split(": ", 1)[1]


def ssh(platform: Platform, key: Path, *words: str, job: str = "served") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smalt.cli", "ml", "job", "connect-ssh", "--root", str(platform.root)]
    command += ["--name", job, "--private-key-file-path", str(key)]
    return subprocess.run(
        command,
        input="\n".join(words),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_ssh_comes_in_with_the_jobs_key_alone(platform: Platform, served: dict[str, Any], key: Path) -> None:
    done = ssh(platform, key, "echo $AZUREML_RUN_ID; pwd; cat /proc/self/status | grep CapEff; exit 7")
    assert done.returncode == 7, done.stderr
    name, folder, rights = done.stdout.splitlines()
    assert name == "served" and folder.endswith("/user/work") and rights.endswith("0000000000000000")
    other = key.with_name("other")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    refused = ssh(platform, other, "true")
    assert refused.returncode == 255 and "Permission denied" in refused.stderr

    def told() -> bool:
        reasons = {one["reason"] for one in platform.get("jobs/served/changes?what=connected")["value"]}
        return reasons >= {"SSH on node 0", "service my_app of node 0"}

    eventually(told, "both visits in the feed")


def test_ssh_forwards_the_jobs_ports(platform: Platform, served: dict[str, Any], key: Path) -> None:
    port = free_port()
    proxy = f"{sys.executable} -m smalt.cli ssh-proxy --root {platform.root} served"
    command = [
        "ssh",
        "-o",
        f"ProxyCommand={proxy}",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        f"UserKnownHostsFile={os.devnull}",
        "-o",
        "ExitOnForwardFailure=yes",
        "-i",
        str(key),
        "-L",
        f"{port}:localhost:{served['my_app']['port']}",
        "served",
        "echo in; cat",
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=clean_environment(), text=True, **pipes) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "in\n"
        with socket.create_connection(("127.0.0.1", port), ANSWER_S) as line:
            line.sendall(b"GET /through HTTP/1.1\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 200")
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


def test_it_is_there_again_after_the_server_was_killed(platform: Platform, served: dict[str, Any]) -> None:
    before = platform.kill("server")
    platform.restarted("server", before)
    platform.wait_until_it_answers()
    token = {"Authorization": f"Bearer {platform.token()}"}
    eventually(lambda: ask(platform, served["my_app"]["endpoint"], **token)[0] == 200, "the service")
    assert shown(platform)["my_app"]["status"] == "Running"


def test_a_job_without_the_service_says_so_and_the_end_of_the_job_is_that_of_its_services(
    platform: Platform, served: dict[str, Any], key: Path
) -> None:
    url = served["my_app"]["endpoint"]
    platform.call("POST", "jobs/served/cancel")
    platform.wait_for("served", "Canceled")
    assert shown(platform)["my_app"]["status"] == "Stopped"
    assert ask(platform, url, Authorization=f"Bearer {platform.token()}")[0] in (404, 409)
    done = ssh(platform, key, "true")
    assert done.returncode == 1 and "Stopped" in done.stderr
