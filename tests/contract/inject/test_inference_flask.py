"""What scripts get and give that is Flask's at Azure's own inference server; answers in pieces; coroutines."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from .conftest import Pair, Running, our_server, pair_of  # pyright: ignore

SCRIPT = """
import flask
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

def init():
    pass

def pieces(fail_at=None):
    for at in range(5):
        if at == fail_at:
            raise ValueError("it ends here ☃")
        yield ("piece %d " % at).encode()

def cookies():
    answer = AMLResponse("x", 200)
    answer.set_cookie("a", "b c")
    return answer

ANSWERS = {
    "generator": lambda: AMLResponse(pieces(), 200, {"Content-Type": "text/event-stream"}),
    "flask generator": lambda: flask.Response(("data: %d\\n\\n" % at for at in range(3)), mimetype="text/event-stream"),
    "list": lambda: AMLResponse(["a", "b"], 200),
    "nothing": lambda: AMLResponse(iter(()), 200),
    "jsonify": lambda: flask.jsonify({"a": 1}),
    "of flask": lambda: flask.jsonify(flask.request.args.to_dict()),
    "abort": lambda: flask.abort(403),
    "cookie": cookies,
    "line break": lambda: AMLResponse("x", 200, {"X-Own": "a\\r\\nSet-Cookie: x"}),
    "own ids": lambda: AMLResponse("x", 200, {"x-ms-request-id": "own", "x-request-id": "own"}),
    "own coding": lambda: AMLResponse("x", 200, {"Transfer-Encoding": "chunked"}),
    "tuple": lambda: ("x", 201),
    "not ascii": lambda: {}["ünï ☃ \\ud83d"],
    "status": lambda: {"was": AMLResponse("x", 201).status},
    "fails at once": lambda: AMLResponse(pieces(0), 200),
    "fails later": lambda: AMLResponse(pieces(2), 200),
    "99": lambda: AMLResponse("x", 99),
    "100": lambda: AMLResponse("x", 100),
    "what": lambda: AMLResponse("x", "what"),
    "a number": lambda: AMLResponse(5, 200),
}

@rawhttp
def run(request: AMLRequest):
    if "do" in request.args:
        return ANSWERS[request.args["do"]]()
    try:
        return {"value": repr(eval(request.args["eval"]))}
    except Exception as ex:
        return {"error": type(ex).__name__}
"""
ASKED = [
    "get_json(force=True)", "get_json(silent=True)", "json", "get_json()['a']", "headers['x-missing']",
    "headers.get('x-num', type=int)", "headers.get_all('x-num')", "headers.to_wsgi_list()", "accept_mimetypes.best",
    "accept_languages.best", "authorization", "referrer", "content_encoding", "content_length", "is_secure",
    "environ['REQUEST_METHOD']", "environ['QUERY_STRING']", "environ.get('HTTP_X_NUM')", "args.get('n', type=int)",
    "args.to_dict()", "args.getlist('a')", "values.get('n')", "form.to_dict()", "stream.read(5)", "data",
    "get_data(as_text=True)", "mimetype_params", "user_agent.string", "remote_user", "if_none_match", "range",
    "cache_control", "date", "origin", "script_root", "full_path", "query_string", "cookies.get('a')", "close()",
    "want_form_data_parsed", "max_content_length", "endpoint_that_is_not",
]  # fmt: skip
BODIES = [
    (b'{"a": 1}', "application/json; charset=utf-8"),
    (b"{bad", "application/json"),
    (b"a=1&b=2", "application/x-www-form-urlencoded"),
    (bytes(range(256)), "application/octet-stream"),
]
LIVE = """
import asyncio, json, os, time
from azureml.contrib.services.aml_response import AMLResponse

def there(name):
    return os.path.exists(os.path.join(os.environ["SIGNS"], name))

def sign(name):
    open(os.path.join(os.environ["SIGNS"], name), "w").close()

def pieces(asked):
    try:
        yield b"first "
        while not there(asked["until"]):
            time.sleep(0.005)
        for _ in range(asked.get("count", 1)):
            yield b"x" * 65536
    finally:
        sign(asked["until"] + ".ended")

async def init():
    global gate
    gate = asyncio.Event()

async def run(data):
    asked = json.loads(data)
    if "until" in asked:
        return AMLResponse(pieces(asked), 200)
    if "raise" in asked:
        raise TimeoutError(asked["raise"])
    if "wait" in asked:
        await gate.wait()
    gate.set()
    return asked
"""


@pytest.fixture(scope="module")
def pair(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    yield from pair_of(serving_python, tmp_path_factory.mktemp("flask"), SCRIPT)


@pytest.mark.parametrize("asked", ASKED)
def test_requests_have_what_flasks_have(pair: Pair, asked: str) -> None:
    headers = {
        "X-Num": "5",
        "Cookie": "a=b",
        "User-Agent": "me/1.0",
        "Accept": "text/csv, text/html;q=0.5",
        "Host": "h",
    }
    for body, media in BODIES:
        sent = {**headers, "Content-Type": media}
        pair.same("POST", f"/score?eval={quote('request.' + asked)}&a=1&a=2&n=7&n=8", body, sent)


@pytest.mark.parametrize(
    "do",
    ["generator", "flask generator", "list", "nothing", "jsonify", "of flask", "abort", "cookie", "line break", "own ids",
     "tuple", "not ascii", "status"],
)  # fmt: skip
def test_answers_are_as_flasks(pair: Pair, do: str) -> None:
    pair.same("POST", "/score?do=" + quote(do), b"{}", {"Content-Type": "application/json"})


@pytest.mark.parametrize("do", ["fails at once", "99", "100", "what", "a number"])
def test_what_breaks_the_connection_there_is_the_scripts_failure_here(pair: Pair, do: str) -> None:
    got = pair.ours.ask("POST", "/score?do=" + quote(do), b"{}")
    assert (got.status, got.raw["ms-azureml-model-error-statuscode"]) == (424, "500")


def test_what_fails_in_the_middle_is_no_whole_answer(pair: Pair) -> None:
    for running in (pair.reference, pair.ours):
        with pytest.raises(http.client.IncompleteRead):
            running.ask("POST", "/score?do=fails%20later", b"{}")
        assert "it ends here" in running.output()
    assert pair.ours.ask("POST", "/score?do=own%20coding", b"{}").body == b"x"


@pytest.fixture(scope="module")
def live(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "score.py").write_text(LIVE)
    with our_server(serving_python, folder, {"SIGNS": str(folder)}, max_concurrent=4, request_timeout_s=20) as running:
        yield running


def folder_of(live: Running) -> Path:
    return live.log.parent


def asking(live: Running, body: dict) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=30)
    connection.request("POST", "/score", json.dumps(body))
    return connection


def test_pieces_are_there_before_the_next_is_made(live: Running) -> None:
    response = asking(live, {"until": "asked", "count": 100}).getresponse()
    assert response.read(6) == b"first "
    (folder_of(live) / "asked").touch()
    assert len(response.read()) == 100 * 65536
    assert (folder_of(live) / "asked.ended").exists()


def test_a_client_that_leaves_ends_the_generator(live: Running) -> None:
    connection = asking(live, {"until": "left", "count": 10**9})
    response = connection.getresponse()
    assert response.read(6) == b"first "
    (folder_of(live) / "left").touch()
    response.read(65536)
    response.close()
    connection.close()
    while not (folder_of(live) / "left.ended").exists():  # the tests' time limit is the bound
        assert live.process.poll() is None
    assert live.post({"a": 1}).json() == {"a": 1}


def test_coroutines_share_a_loop_and_wait_for_each_other(live: Running) -> None:
    waiting = asking(live, {"wait": 1})
    assert live.post({"a": "ü"}).json() == {"a": "ü"}
    assert json.loads(waiting.getresponse().read()) == {"wait": 1}
    assert live.post({"raise": "its own"}).status == 424
    assert "TimeoutError: its own" in live.output()
