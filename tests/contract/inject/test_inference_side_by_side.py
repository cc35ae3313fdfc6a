"""The same requests to Azure's own inference server and to ours: the same status, body and headers.

The one difference that is meant: where the script fails, Azure's server answers 500 and Azure's front end makes 424 of
it; ours answers 424 with the front end's two headers. `same` knows that and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Pair, comparable, pair_of  # pyright: ignore

PLAIN = """
import json, sys, time
from azureml.contrib.services.aml_response import AMLResponse

def init():
    print("init was here")

def run(raw_data):
    assert isinstance(raw_data, str)
    try:
        asked = json.loads(raw_data)
    except ValueError:
        return {"text": raw_data}
    do = asked.get("do") if isinstance(asked, dict) else None
    if do == "raise":
        raise ValueError("a secret of the script")
    if do == "value":
        return asked["value"]
    if do == "nan":
        return [float("nan"), float("inf")]
    if do == "set":
        return {1, 2}.__class__
    if do == "response":
        return AMLResponse(asked["message"], asked["status"], asked.get("headers", {}), asked.get("json", False))
    if do == "bytes":
        return AMLResponse(bytes(range(256)), 200, {"Content-Type": "application/octet-stream"})
    if do == "none":
        return AMLResponse(None, 202)
    if do == "mime":
        answer = AMLResponse("<x/>", 200)
        answer.mimetype = "application/xml"
        return answer
    if do == "set header":
        answer = AMLResponse("x", 200)
        answer.headers["X-Own"] = "1"
        answer.headers.add("X-Two", "a")
        answer.headers.add("X-Two", "b")
        return answer
    return asked
"""

HEADERS = """
def init():
    pass

def run(data, request_headers):
    names = ("Content-Type", "X-Own-Header", "X-Ms-Client-Request-Id")
    return {"data": data, "seen": {name: request_headers.get(name) for name in names}}
"""

SCHEMA = """
import numpy as np
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

def init():
    pass

@input_schema("data", NumpyParameterType(np.array([[1.0, 2.0]])))
@input_schema("factor", StandardPythonParameterType(1.0))
@output_schema(StandardPythonParameterType([1.0]))
def run(data, factor=2.0):
    assert isinstance(data, np.ndarray)
    return (data.sum(axis=1) * factor).tolist()
"""

RAW = """
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

def init():
    pass

@rawhttp
def run(request: AMLRequest):
    if request.args.get("what") == "files":
        files = [(f.filename, f.stream.read().hex(), f.content_type) for f in request.files.getlist("file[]")]
        return {"files": files, "form": request.form.to_dict(), "data": len(request.data)}
    if request.args.get("what") == "body":
        return AMLResponse(request.get_data(False), 200, {"Content-Type": "image/png"})
    if request.args.get("what") == "json":
        return request.get_json()
    if request.method == "DELETE":
        return AMLResponse("never", 200)
    return {
        "method": request.method,
        "path": request.path,
        "full_path": request.full_path,
        "args": request.args.to_dict(flat=False),
        "type": request.content_type,
        "mimetype": request.mimetype,
        "own": request.headers.get("x-own"),
        "is_json": request.is_json,
        "text": request.get_data(as_text=True),
        "values": request.values.get("a"),
        "cookies": dict(request.cookies),
    }
"""

SLOW = """
import json, time

def init():
    pass

def run(raw_data):
    time.sleep(json.loads(raw_data)["sleep"])
    return "done"
"""


@pytest.fixture(scope="module")
def plain(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    yield from pair_of(serving_python, tmp_path_factory.mktemp("plain"), PLAIN)


@pytest.fixture(scope="module")
def schema(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    yield from pair_of(
        serving_python,
        tmp_path_factory.mktemp("schema"),
        SCHEMA,
        SERVICE_NAME="mine",
        SERVICE_PATH_PREFIX="/api/",
        AML_CORS_ORIGINS="https://one.example, https://two.example",
    )


@pytest.fixture(scope="module")
def raw(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    yield from pair_of(serving_python, tmp_path_factory.mktemp("raw"), RAW, AML_CORS_ORIGINS="*")


@pytest.mark.parametrize(
    "value", ["text", "ünïcode ☃", "", 1, 1.5, True, [1, [2]], {"a": {"b": []}}, {}, "9" * 20, 10**30]
)
def test_what_run_returns_is_written_as_json(plain: Pair, value: object) -> None:
    expected, _ = plain.post({"do": "value", "value": value})
    assert expected.json() == value


def test_none_is_an_empty_object(plain: Pair) -> None:
    expected, _ = plain.post({"do": "value", "value": None})
    assert expected.body == b"{}"


def test_numbers_that_json_does_not_have(plain: Pair) -> None:
    expected, _ = plain.post({"do": "nan"})
    assert expected.body == b"[NaN, Infinity]"


@pytest.mark.parametrize("body", [b"", b"no json", "ünïcode", b"{", b'"x"', b"\xff\xfe"])
def test_the_body_comes_as_text(plain: Pair, body: bytes | str) -> None:
    plain.same("POST", "/score", body if isinstance(body, bytes) else body.encode(), {"Content-Type": "text/plain"})


def test_a_form_has_no_data(plain: Pair) -> None:
    plain.same("POST", "/score", b"a=1", {"Content-Type": "application/x-www-form-urlencoded"})
    plain.same("POST", "/score", b'{"a": 1}', {})


def test_an_exception_is_424_and_the_next_request_is_answered(plain: Pair) -> None:
    expected, got = plain.post({"do": "raise"})
    assert (expected.status, got.status) == (500, 424)
    assert got.raw["x-ms-run-function-failed"] == "True"
    assert b"secret" not in got.body
    assert "ValueError: a secret of the script" in plain.ours.output()
    plain.post({"do": "value", "value": 1})


def test_what_cannot_be_json_is_the_scripts_failure(plain: Pair) -> None:
    expected = plain.reference.post({"do": "set"})
    got = plain.ours.post({"do": "set"})
    assert (expected.status, got.status) == (500, 424)
    assert got.body == expected.body


@pytest.mark.parametrize(
    "asked",
    [
        {"message": "made", "status": 201},
        {"message": {"a": 1}, "status": 200, "json": True},
        {"message": "gone", "status": 410, "headers": {"X-Own": "a, b"}},
        {"message": "<p>", "status": 200, "headers": {"Content-Type": "text/plain"}},
        {"message": "broken", "status": 503},
        {"message": "", "status": 204},
    ],
)
def test_aml_response(plain: Pair, asked: dict) -> None:
    plain.post({"do": "response", **asked})


@pytest.mark.parametrize("do", ["bytes", "none", "mime", "set header"])
def test_aml_response_forms(plain: Pair, do: str) -> None:
    plain.post({"do": do})


@pytest.mark.parametrize("query", ["", "?a=1&b=[1,2]&c=x&d=null", "?a=1&a=x&e=", "?a=%C3%BC&b=%22q%22"])
def test_get(plain: Pair, schema: Pair, query: str) -> None:
    plain.same("GET", "/score" + query)
    schema.same("GET", "/score" + query)


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "HEAD"])
@pytest.mark.parametrize("path", ["/score", "/", "/swagger.json", "/nothing", "/score/"])
def test_methods_and_paths(plain: Pair, method: str, path: str) -> None:
    expected = plain.reference.ask(method, path)
    got = plain.ours.ask(method, path)
    assert (got.status, got.body) == (expected.status, expected.body)
    assert comparable(got, None) == comparable(expected, None) or "allow" in expected.raw
    assert sorted(got.raw.get("allow", "").split(", ")) == sorted(expected.raw.get("allow", "").split(", "))


def test_health(plain: Pair) -> None:
    expected, _ = plain.same("GET", "/")
    assert expected.body == b"Healthy"
    assert plain.ours.ask("GET", "/health").status == plain.ours.ask("GET", "/ready").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-request-id": "r1"},
        {"x-ms-request-id": "legacy"},
        {"x-ms-client-request-id": "client"},
        {"x-request-id": "r2", "x-ms-request-id": "legacy", "x-ms-client-request-id": "client"},
        {"TraceId": "office"},
        {"x-request-id": "r" * 100},
        {"x-request-id": "r" * 101},
        {"x-ms-request-id": "r" * 101},
        {"x-ms-client-request-id": "r" * 101, "x-request-id": "r4"},
        {"x-request-id": ""},
    ],
)
def test_request_ids(plain: Pair, headers: dict) -> None:
    plain.same("POST", "/score", b"{}", headers)
    plain.same("GET", "/", None, headers)


@pytest.mark.parametrize("version", ["", "?version=2", "?version=2.0", "?version=3", "?version=3.1", "?version=9"])
def test_swagger(plain: Pair, schema: Pair, version: str) -> None:
    for pair in (plain, schema):
        expected = pair.reference.ask("GET", "/swagger.json" + version)
        got = pair.ours.ask("GET", "/swagger.json" + version)
        assert (got.status, got.json()) == (expected.status, expected.json())
        assert comparable(got, None) == comparable(expected, None)


@pytest.mark.parametrize(
    "body",
    [
        {"data": [[1, 2], [3, 4]]},
        {"data": [[1, 2]], "factor": 10},
        {"data": [[1, 2]], "other": 1},
        {"factor": 1},
        {"data": [[1, 2, 3]]},
        {"data": "text"},
        [1],
        b"",
        b"{",
        b"null",
    ],
)
def test_schema_decorators(schema: Pair, body: object) -> None:
    schema.post(body)


def test_schema_decorators_want_json(schema: Pair) -> None:
    expected, _ = schema.same("POST", "/score", b'{"data": [[1, 2]]}', {"Content-Type": "text/plain"})
    assert expected.status == 415
    schema.same("POST", "/score", b'{"data": [[1, 2]]}', {"Content-Type": "application/json; charset=utf-8"})
    schema.same("POST", "/score", b'{"data": [[1, 2]]}', {"Content-Type": "application/vnd.own+json"})


@pytest.mark.parametrize("origin", ["https://one.example", "https://two.example", "https://three.example", ""])
@pytest.mark.parametrize("asked", [{}, {"Access-Control-Request-Headers": "X-B, x-a"}])
def test_cors(schema: Pair, raw: Pair, origin: str, asked: dict) -> None:
    headers = {"Origin": origin, **asked} if origin else dict(asked)
    for pair in (schema, raw):
        pair.same("POST", "/score", b'{"data": [[1, 2]]}', {"Content-Type": "application/json", **headers})
        pair.same("GET", "/", None, headers)
        pair.same("OPTIONS", "/score", None, {**headers, "Access-Control-Request-Method": "POST"})
        pair.same("OPTIONS", "/score", None, {**headers, "Access-Control-Request-Method": "DELETE"})


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_raw_requests(raw: Pair, method: str) -> None:
    body = "ünïcode".encode() if method == "POST" else None
    headers = {"Content-Type": "text/csv; charset=utf-8", "X-Own": "1, 2", "Cookie": "c=d"}
    raw.same(method, "/score?a=1&a=2&b=%C3%BC", body, headers)


def test_raw_bodies(raw: Pair) -> None:
    everything = bytes(range(256)) * 300
    expected, _ = raw.same("POST", "/score?what=body", everything, {"Content-Type": "application/octet-stream"})
    assert expected.body == everything
    raw.same("POST", "/score?what=json", b'{"a": [1]}', {"Content-Type": "application/json"})


def test_raw_uploads(raw: Pair) -> None:
    binary = bytes(range(256)) + b"\r\n--not the end\r\n"
    parts = [
        b'--B\r\nContent-Disposition: form-data; name="file[]"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + binary,
        b'--B\r\nContent-Disposition: form-data; name="file[]"; filename="b.txt"\r\n\r\n',
        b'--B\r\nContent-Disposition: form-data; name="note"\r\n\r\n' + "grüße".encode(),
    ]
    body = b"\r\n".join(parts) + b"\r\n--B--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    expected, _ = raw.same("POST", "/score?what=files", body, headers)
    assert expected.json()["files"][0][1] == binary.hex()


def test_request_headers_parameter(serving_python: Path, tmp_path: Path) -> None:
    for pair in pair_of(serving_python, tmp_path, HEADERS):
        pair.post({"a": 1}, X_own_header="x", x_ms_client_request_id="me")


def test_scoring_timeout(serving_python: Path, tmp_path: Path) -> None:
    for pair in pair_of(serving_python, tmp_path, SLOW, SCORING_TIMEOUT_MS="300"):
        expected, got = pair.post({"sleep": 5})
        assert (expected.status, got.status) == (500, 424)
        assert b"300 ms" in got.body
        pair.post({"sleep": 0})
