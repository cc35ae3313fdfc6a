"""Scoring scripts: a module with init() and run(), called as azureml-inference-server-http calls it.

What run() receives depends on how it is written: undecorated, the body as text; with inference-schema's decorators,
the body's members as its arguments; with @rawhttp, the request. A parameter named `request_headers` gets the headers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import logging
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, ContextManager, Generator, Iterator
from urllib.parse import parse_qsl

from .amlapi import AMLRequest, RawHttp, environ
from .containers import title_case
from .coroutines import Coroutines
from .http1 import Request
from .outcome import (
    EXEC_HEADER,
    FAILED_HEADER,
    TEXT,
    InputError,
    Outcome,
    ScoringTimeout,
    error,
    model_error,
    scored,
    to_json,
)

RUN_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."
# Of an answer that a script builds itself, what is the connection's, or the server's own.
NOT_THE_SCRIPTS = {
    "connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
    "x-request-id", "x-ms-request-id", "x-ms-client-request-id",
}  # fmt: skip
NO_CONTEXT = contextlib.nullcontext()
INTERNAL = "An unexpected internal error occurred. Check the logs for more info."
MODULE = "entry_module"


class ScriptError(Exception):
    """The scoring script cannot be served as it is written."""


def load_script(path: str) -> ModuleType:
    """Executes the script. Raises what it raises, or ScriptError."""
    if not Path(path).is_file():
        raise ScriptError(f"The scoring script {path} does not exist.")
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise ScriptError(f"The scoring script {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    for name in ("init", "run"):
        if not callable(getattr(module, name, None)):
            raise ScriptError(f"The scoring script {path} does not define a {name}() function.")
    return module


class ScriptScorer:
    """A loaded script. `score` answers one request at a time (`max_requests`)."""

    max_requests = 1
    once = True

    def __init__(self, module: ModuleType, rawhttp: RawHttp, logger: logging.Logger) -> None:
        self._logger = logger
        self._coroutines = Coroutines()
        self._context = flask_context()
        driver = getattr(module, "driver_module", None)
        # Generated scripts wrap the real one as `driver_module` and pass the arguments on wrongly: call the real one.
        self.run: Callable[..., Any] = (
            driver.run if isinstance(driver, ModuleType) and hasattr(driver, "run") else module.run
        )
        parameters = list(inspect.signature(self.run).parameters.values())
        if any(one.kind not in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters):
            raise ScriptError("run() cannot accept positional-only arguments, *args, or **kwargs.")
        self._wants_headers = any(one.name == "request_headers" for one in parameters)
        self._parameters = [one for one in parameters if one.name != "request_headers"]
        if not self._parameters:
            other = ' other than "request_headers"' if self._wants_headers else " for input data"
            raise ScriptError(f"run() needs to accept an argument{other}.")
        decorated = schema_functions().is_decorated(self.run)
        if rawhttp.requested and decorated:
            raise ScriptError("run() cannot be decorated with both @rawhttp and @input_schema")
        self._read = self._raw if rawhttp.requested else self._members if decorated else self._text

    def score(self, requests: list[Request]) -> list[Outcome]:
        return [self._one(request) for request in requests]

    def finish(self, result: Any) -> Any:
        """What init() or run() came to, also where it is a coroutine."""
        return self._coroutines.finish(result) if hasattr(result, "__await__") else result

    def _one(self, request: Request) -> Outcome:
        try:
            arguments = self._read(request)
        except InputError as ex:
            if request.method == "OPTIONS" and ex.status == 405:
                return Outcome(200, b"", [("Content-Type", TEXT), (FAILED_HEADER, "False")])
            return error(ex.status, str(ex))
        if self._wants_headers:
            arguments["request_headers"] = dict(title_case(request.headers))
        started = time.perf_counter()
        try:
            with self._context(request) if self._context else NO_CONTEXT:
                result = self.finish(self.run(**arguments))
        except ScoringTimeout:
            raise
        except BaseException as ex:  # also SystemExit: a request must not end the server
            self._log_exception(ex)
            return model_error(RUN_FAILED)
        return self._answer(request, result, (time.perf_counter() - started) * 1000)

    def _answer(self, request: Request, result: Any, elapsed_ms: float) -> Outcome:
        try:
            if all(hasattr(result, name) for name in ("get_data", "status_code", "headers")):
                outcome = http_answer(result, elapsed_ms)
                self._give_body(request, result, outcome)
                return outcome
            return scored(b"{}" if result is None else to_json(result), elapsed_ms)
        except ScoringTimeout:
            raise
        except BaseException as ex:
            self._log_exception(ex)
            return model_error(INTERNAL)

    def _give_body(self, request: Request, response: Any, outcome: Outcome) -> None:
        """A body that is still to be made is sent as it is made, where the client can have it in pieces."""
        streamed = getattr(response, "is_streamed", False) and request.chunks and request.method != "HEAD"
        if not streamed or outcome.status in (204, 304):
            outcome.body = response.get_data()
            return
        pieces = response.iter_encoded()
        first = next(pieces, b"")  # what fails before there is a body is still an answer
        outcome.pieces = self._rest(first, pieces, response)

    def _rest(self, first: bytes, pieces: Iterator[bytes], response: Any) -> Generator[bytes, None, None]:
        try:
            yield first
            yield from pieces
        except Exception as ex:
            self._log_exception(ex)
            raise
        finally:
            if hasattr(response, "close"):
                response.close()

    def _log_exception(self, ex: BaseException) -> None:
        # The first frame is ours.
        shown = ex.__traceback__.tb_next if ex.__traceback__ is not None else None
        text = "".join(traceback.format_exception(type(ex), ex, shown or ex.__traceback__))
        self._logger.error("run() raised an exception\n%s", text.rstrip())

    def _raw(self, request: Request) -> dict[str, Any]:
        return {self._parameters[0].name: AMLRequest(request)}

    def _text(self, request: Request) -> dict[str, Any]:
        name = self._parameters[0].name
        if request.method == "GET":
            return {name: json.dumps(query_members(request.query))}
        _only_post(request)
        if _is_form(request):
            # As on Azure, where a form's body is not `data`: `curl -d` without a Content-Type sends a form.
            return {name: ""}
        try:
            return {name: request.body.decode("utf-8")}
        except UnicodeDecodeError as ex:
            raise InputError(f"Input cannot be decoded as UTF-8: {ex}") from None

    def _members(self, request: Request) -> dict[str, Any]:
        if request.method == "GET":
            body = query_members(request.query)
        else:
            _only_post(request)
            body = json_object(request)
        arguments: dict[str, Any] = {}
        for one in self._parameters:
            value = body.get(one.name, one.default)
            if value is inspect.Parameter.empty:
                raise InputError(f"A value is not provided for the {one.name!r} parameter.")
            arguments[one.name] = value
        return arguments


class SchemaFunctions:
    """What inference-schema knows about a function; `versions` are the Swagger versions that can describe it."""

    all_versions = ("2.0", "3.0", "3.1")

    def __init__(self, util: ModuleType | None) -> None:
        self._util = util

    def is_decorated(self, run: Callable[..., Any]) -> bool:
        return self._util is not None and bool(self._util.is_schema_decorated(run))

    def versions(self, run: Callable[..., Any]) -> list[str]:
        supported = getattr(self._util, "get_supported_versions", None)
        return list(supported(run)) if supported is not None else list(self.all_versions)

    def schemas(self, run: Callable[..., Any]) -> tuple[Any, Any]:
        if self._util is None or not self.is_decorated(run):
            return {"type": "object", "example": {}}, {"type": "object", "example": {}}
        return self._util.get_input_schema(run), self._util.get_output_schema(run)


def schema_functions() -> SchemaFunctions:
    """A script that uses the decorators has imported inference-schema already; otherwise there is nothing to ask."""
    return SchemaFunctions(sys.modules.get("inference_schema.schema_util"))


def http_answer(response: Any, elapsed_ms: float) -> Outcome:
    """An AMLResponse, or a Flask response of the script's own, as it is, without its body. Raises ValueError where it
    cannot be an answer."""
    status = int(response.status_code)
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is no status of an answer")
    headers = [(str(name), str(value)) for name, value in response.headers.items()]
    headers = [(name, value) for name, value in headers if name.lower() not in NOT_THE_SCRIPTS]
    if status >= 500:
        headers = [(name, value) for name, value in headers if name.lower() != FAILED_HEADER]
        headers.append((FAILED_HEADER, "True"))
    headers.append((EXEC_HEADER, f"{elapsed_ms:.3f}"))
    return Outcome(status, b"", headers, failed=status >= 500)


def flask_context() -> Callable[[Request], ContextManager[Any]] | None:
    """Where a script has imported Flask, what `jsonify` and `flask.request` need while run() runs."""
    flask = sys.modules.get("flask")
    if flask is None:
        return None
    app = flask.Flask("main")
    return lambda request: app.request_context(environ(request))


def query_members(query: str) -> dict[str, Any]:
    """A query as if it were a JSON body: `a=1&b=[1,2]&c=x&c=y` is {"a": 1, "b": [1, 2], "c": ["x", "y"]}."""
    values: dict[str, list[Any]] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        values.setdefault(key, []).append(value)
    return {key: many[0] if len(many) == 1 else many for key, many in values.items()}


def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises InputError."""
    media = _media_type(request)
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        raise InputError("Expects Content-Type to be application/json", 415)
    if not request.body:
        raise InputError("POST body is empty. Expecting a JSON dictionary.")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError) as ex:
        raise InputError(f"POST body could not be decoded as JSON: {ex}") from None
    if not isinstance(body, dict):
        raise InputError("POST body should be a JSON dictionary.")
    return body


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _is_form(request: Request) -> bool:
    media = _media_type(request)
    parts = media == "multipart/form-data" and "boundary=" in request.headers["content-type"].lower()
    return parts or media == "application/x-www-form-urlencoded"


def _only_post(request: Request) -> None:
    if request.method != "POST":
        raise InputError("Method not allowed", 405)
