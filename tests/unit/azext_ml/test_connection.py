"""The requests of the commands, against a server that misbehaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from smalt.azext_ml.connection import PIECE, Connection
from smalt.azext_ml.errors import MLError
from smalt.azext_ml.kinds import COMPUTE
from smalt.azext_ml.login import connected
from smalt.azext_ml.logs import Streamed
from smalt.azext_ml.verbs import write_back

Answer = tuple[int, Any, dict[str, str]]


class Scripted:
    """Answers in turn, the last one again and again; keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                script.asked.append((self.command, self.path, dict(self.headers), body))
                answers = script.answers
                status, document, headers = answers.pop(0) if len(answers) > 1 else answers[0]
                content = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def will(self, *answers: Answer) -> None:
        self.answers = list(answers)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    scripted = Scripted()
    yield scripted
    scripted.server.shutdown()
    scripted.server.server_close()


def connection(server: Scripted, token: Callable[[str], str] = lambda resource: "token") -> Connection:
    return Connection(server.url, "s", token, lambda: None).within("g", "w")


NOW = {"Retry-After": "0"}


def test_it_tries_again_where_the_server_is_busy(server: Scripted) -> None:
    server.will((503, {}, NOW), (429, {}, NOW), (200, {"a": 1}, {}))
    assert connection(server).get("jobs/x") == {"a": 1}
    assert len(server.asked) == 3
    assert server.asked[0][1].startswith(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices"
    )


def test_it_gives_up_with_the_servers_words(server: Scripted) -> None:
    server.will((503, {"error": {"code": "Busy", "message": "later"}}, NOW))
    with pytest.raises(MLError, match=r"\(Busy\) later") as failed:
        connection(server).get("jobs/x")
    assert (failed.value.status, len(server.asked)) == (503, 4)


def test_a_token_that_has_ended_is_asked_for_again(server: Scripted) -> None:
    tokens = iter(["old", "new"])
    server.will((401, {"error": {"code": "E", "message": "m"}}, {}), (200, {}, {}))
    connection(server, lambda resource: next(tokens)).get("jobs/x")
    assert [one[2]["Authorization"] for one in server.asked] == ["Bearer old", "Bearer new"]


def test_a_refused_token_is_an_error(server: Scripted) -> None:
    server.will((401, {"error": {"code": "Unauthorized", "message": "no"}}, {}))
    with pytest.raises(MLError, match="Unauthorized"):
        connection(server).get("jobs/x")
    assert len(server.asked) == 2


def test_what_was_changed_meanwhile_is_not_written(server: Scripted) -> None:
    said = {"error": {"code": "PreconditionFailed", "message": 'The resource has the ETag "2", not "1".'}}
    server.will((412, said, {}))
    with pytest.raises(MLError, match="compute cpu was changed by somebody else meanwhile, and nothing was written"):
        write_back(connection(server), COMPUTE, "computes/cpu", {"name": "cpu", "etag": '"1"', "properties": {}})
    method, path, headers, body = server.asked[-1]
    assert (method, headers["If-Match"], json.loads(body)) == ("PUT", '"1"', {"properties": {}}), path


def test_pages_are_followed_on_the_same_server_alone(server: Scripted) -> None:
    server.will((200, {"value": [1], "nextLink": f"{server.url}/next"}, {}), (200, {"value": [2]}, {}))
    assert list(connection(server).pages("jobs")) == [1, 2]
    server.will((200, {"value": [1], "nextLink": "https://elsewhere.example/next"}, {}))
    with pytest.raises(MLError, match="leads to another one"):
        list(connection(server).pages("jobs"))
    assert not [one for one in server.asked if "elsewhere" in one[1]]


def test_operations_are_waited_for(server: Scripted) -> None:
    poll = {"Azure-AsyncOperation": f"{server.url}/operation"}
    server.will((202, {}, poll), (200, {"status": "InProgress"}, NOW), (200, {"status": "Succeeded"}, {}))
    connection(server).act("DELETE", "computes/x")
    assert len(server.asked) == 3
    failed = {"status": "Failed", "error": {"code": "Broken", "message": "it broke"}}
    server.will((202, {}, poll), (200, failed, {}))
    with pytest.raises(MLError, match="it broke"):
        connection(server).act("DELETE", "computes/x")
    server.asked.clear()
    server.will((202, {}, poll))
    connection(server).act("DELETE", "computes/x", wait=False)
    assert len(server.asked) == 1


def test_an_answer_that_is_no_json(server: Scripted) -> None:
    server.will((500, b"<html>", {}))
    with pytest.raises(MLError, match="status 500"):
        connection(server).get("jobs/x")


def test_a_server_that_is_not_there(server: Scripted) -> None:
    gone = Connection("http://127.0.0.1:1", "s", lambda resource: "token", lambda: None)
    with pytest.raises(MLError, match="cannot be reached"):
        gone.get("/x")


def test_logs_come_by_whole_lines_and_once(server: Scripted) -> None:
    logs = Streamed(connection(server), "Command")
    at = {"user_logs/std_log.txt": f"{server.url}/log", "system_logs/x.txt": f"{server.url}/other"}
    server.will((206, b"one\ntw", {}))
    heading = "\nStreaming user_logs/std_log.txt\n===============================\n\n"
    assert list(logs.new(at, ended=False)) == [heading, "one\n"]
    server.will((206, b"two\nthr", {}))
    assert list(logs.new(at, ended=True)) == ["two\nthr\n"]
    assert [one[2]["Range"] for one in server.asked] == [f"bytes=0-{PIECE - 1}", f"bytes=4-{4 + PIECE - 1}"]
    server.will((416, {}, {}))
    assert list(logs.new(at, ended=True)) == []


def test_a_long_log_comes_piece_by_piece_and_a_line_that_is_longer_in_parts(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("connection", "logs"):
        monkeypatch.setattr(f"smalt.azext_ml.{module}.PIECE", 8)
    logs, at = Streamed(connection(server), "Command"), {"user_logs/std_log.txt": f"{server.url}/log"}
    server.will((206, b"one\ntwo-", {}), (206, b"two-more", {}), (206, b"-end\nlas", {}), (206, b"las", {}))
    _, *said = logs.new(at, ended=False)
    assert said == ["one\n", "two-more", "-end\n"]
    assert [one[2]["Range"] for one in server.asked] == ["bytes=0-7", "bytes=4-11", "bytes=12-19", "bytes=17-24"]


def test_a_login_by_variables(server: Scripted) -> None:
    cloud = {
        "name": "Smalt",
        "resourceManager": f"{server.url}/",
        "authentication": {"loginEndpoint": f"{server.url}/adfs"},
    }
    token = {"access_token": "t.e30.s", "expires_in": "60"}
    variables = {
        "ARM_CLOUD_METADATA_URL": f"{server.url}/metadata",
        "AZURE_SUBSCRIPTION_ID": "s",
        "IDENTITY_ENDPOINT": f"{server.url}/msi",
        "IDENTITY_HEADER": "h",
    }
    server.will((200, [cloud], {}), (200, token, {}), (200, {}, {}))
    connected(variables).get("/x")
    assert [one[1].split("?")[0] for one in server.asked] == ["/metadata", "/msi", "/x"]
    assert server.asked[1][2]["X-Identity-Header"] == "h"
    server.asked.clear()
    server.will((200, [cloud], {}), (200, token, {}), (200, {}, {}))
    principal = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "k"}
    connected(variables | principal).get("/x")
    assert server.asked[1][1] == "/adfs/tenant/oauth2/v2.0/token" and b"client_secret=k" in server.asked[1][3]


@pytest.mark.parametrize("missing", ["ARM_CLOUD_METADATA_URL", "AZURE_SUBSCRIPTION_ID", "IDENTITY_HEADER"])
def test_a_login_that_lacks_something_says_so(server: Scripted, missing: str) -> None:
    cloud = {"name": "Smalt", "resourceManager": server.url, "authentication": {"loginEndpoint": server.url}}
    server.will((200, [cloud], {}))
    variables = {
        "ARM_CLOUD_METADATA_URL": f"{server.url}/metadata",
        "AZURE_SUBSCRIPTION_ID": "s",
        "IDENTITY_ENDPOINT": f"{server.url}/msi",
        "IDENTITY_HEADER": "h",
    }
    with pytest.raises(MLError, match=missing):
        connected({name: value for name, value in variables.items() if name != missing}).get("/x")
