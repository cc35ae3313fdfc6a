"""`rawhttp`, `AMLRequest` and `AMLResponse`: what scoring scripts that want the HTTP request itself import.

On Azure these come from `azureml.contrib.services` or `azureml_inference_server_http.api`, where they are Flask's
request and response. Scripts import them by those names, so our classes answer to those names, with the attributes of
Flask's that scoring scripts use, and without Flask. What else a script asks of a request is asked of Flask's own, made
of the same bytes, where Flask is in the environment.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import sys
import types
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any, Callable, Iterator, Mapping
from urllib.parse import parse_qsl

from .containers import Headers, MultiDict, parse_multipart, title_case
from .http1 import Request

REASONS = {status.value: status.phrase.upper() for status in HTTPStatus}
TEXT_TYPES = ("application/sql", "application/ecmascript", "application/xml-dtd")
REQUEST_MODULES = ("azureml.contrib.services.aml_request", "azureml_inference_server_http.api.aml_request")
RESPONSE_MODULES = ("azureml.contrib.services.aml_response", "azureml_inference_server_http.api.aml_response")


class RawHttp:
    """`@rawhttp`: run() is called with the request instead of its body. As on Azure, one use anywhere decides: other
    decorators around run() would hide a mark on the function."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        self.requested = True
        return func


class UserAgent(str):
    """A client's name for itself."""

    @property
    def string(self) -> str:
        return str(self)


class AMLRequest:
    """The request that a @rawhttp run() receives."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._flask: Any = None
        self.method = request.method
        self.path = request.path
        self.query_string = request.query.encode("latin-1")
        self.full_path = request.path + "?" + request.query
        self.headers = Headers(title_case(request.headers))
        self.host = request.headers.get("host", "localhost")
        self.scheme = request.headers.get("x-forwarded-proto", "http")
        self.host_url = self.root_url = self.url_root = f"{self.scheme}://{self.host}/"
        self.base_url = f"{self.scheme}://{self.host}{request.path}"
        self.url = self.base_url + ("?" + request.query if request.query else "")
        self.args = MultiDict(parse_qsl(request.query, keep_blank_values=True))
        self.content_type = request.headers.get("content-type")
        self.mimetype = (self.content_type or "").split(";")[0].strip().lower()
        length = request.headers.get("content-length")
        self.content_length = int(length) if length else (len(request.body) or None)
        self.is_json = self.mimetype == "application/json" or (
            self.mimetype.startswith("application/") and self.mimetype.endswith("+json")
        )
        self.user_agent = UserAgent(request.headers.get("user-agent", ""))
        self.remote_addr = request.headers.get("x-forwarded-for", "").split(",")[0].strip() or None
        self.cookies = {name: one.value for name, one in SimpleCookie(request.headers.get("cookie", "")).items()}
        self.stream = io.BytesIO(request.body)
        self._body = request.body
        self._parts: tuple[MultiDict, MultiDict] | None = None

    def __getattr__(self, name: str) -> Any:
        """What only Flask's request has."""
        if name.startswith("__"):
            raise AttributeError(name)
        if (flask := self._flask_request()) is None:
            raise AttributeError(f"without Flask in the environment an AMLRequest has no {name!r}")
        return getattr(flask, name)

    def get_data(self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False) -> Any:
        return self._body.decode("utf-8", "replace") if as_text else self._body

    @property
    def data(self) -> bytes:
        """Empty for a form, as in Flask: there the body has become `form` and `files`."""
        return b"" if self._is_form else self._body

    @property
    def json(self) -> Any:
        return self.get_json()

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        try:
            if not (force or self.is_json):
                raise ValueError("the request's Content-Type is not application/json")
            return json.loads(self._body)
        except ValueError:
            if silent:
                return None
            if (flask := self._flask_request()) is not None:
                return flask.get_json(force=force)  # raises what scripts may have written an `except` for
            raise

    @property
    def form(self) -> MultiDict:
        return self._form_and_files()[0]

    @property
    def files(self) -> MultiDict:
        return self._form_and_files()[1]

    @property
    def values(self) -> MultiDict:
        pairs = [(key, value) for one in (self.args, self.form) for key, values in one.lists() for value in values]
        return MultiDict(pairs)

    def _flask_request(self) -> Any:
        """None where Flask is not installed."""
        if self._flask is None and _installed("flask"):
            self._flask = importlib.import_module("flask").Request(environ(self._request))
        return self._flask

    @property
    def _is_form(self) -> bool:
        return self.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded")

    def _form_and_files(self) -> tuple[MultiDict, MultiDict]:
        if self._parts is None:
            if self.mimetype == "multipart/form-data":
                self._parts = parse_multipart(self._body, self.content_type or "")
            elif self._is_form:
                pairs = parse_qsl(self._body.decode("utf-8", "replace"), keep_blank_values=True)
                self._parts = MultiDict(pairs), MultiDict()
            else:
                self._parts = MultiDict(), MultiDict()
        return self._parts


class AMLResponse:
    """The answer that run() may build itself: body, status and headers."""

    def __init__(
        self,
        message: Any,
        status_code: int | str,  # or "202 Accepted"
        response_headers: Mapping[str, str] | None = None,
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        if message is None:
            message, json_str = {}, True
        body = json.dumps(message) if json_str else message
        self.status = status_code
        self.headers = Headers()
        self.headers["Content-Type"] = "application/json" if json_str else "text/html; charset=utf-8"
        self._chunks = body if not isinstance(body, (str, bytes, bytearray)) else [body]
        given = response_headers or {}
        if "Content-Type" in given and not json_str:
            self.headers.remove("Content-Type")
        self.headers["x-ms-run-function-failed"] = run_function_failed
        for name, value in given.items():
            for one in str(value).split(","):
                self.headers.add(name, one.strip())

    @property
    def status(self) -> str:
        return f"{self.status_code} {REASONS.get(self.status_code, 'UNKNOWN')}"

    @status.setter
    def status(self, value: str | int) -> None:
        self.status_code = int(str(value).split()[0])

    @property
    def content_type(self) -> str | None:
        return self.headers.get("Content-Type")

    @content_type.setter
    def content_type(self, value: str) -> None:
        self.headers["Content-Type"] = value

    @property
    def mimetype(self) -> str:
        return (self.content_type or "").split(";")[0].strip()

    @mimetype.setter
    def mimetype(self, value: str) -> None:
        text = value.startswith("text/") or value.endswith(("+xml", "/xml", "/javascript")) or value in TEXT_TYPES
        self.headers["Content-Type"] = value + "; charset=utf-8" if text else value

    @property
    def data(self) -> bytes:
        return self.get_data()

    @data.setter
    def data(self, value: str | bytes) -> None:
        self.set_data(value)

    def set_data(self, value: str | bytes) -> None:
        self._chunks = [value]

    @property
    def is_streamed(self) -> bool:
        """Whether the body is still to be made: a generator, say."""
        return not hasattr(self._chunks, "__len__")

    def iter_encoded(self) -> Iterator[bytes]:
        """The body's pieces; those of a generator are there once."""
        return (one.encode("utf-8") if isinstance(one, str) else bytes(one) for one in self._chunks)

    def close(self) -> None:
        if (close := getattr(self._chunks, "close", None)) is not None:
            close()

    def set_cookie(self, key: str, value: str = "", path: str | None = "/", **attributes: Any) -> None:
        """`attributes`: max_age, expires, domain, secure, httponly, samesite."""
        cookie = SimpleCookie({key: value})
        cookie[key].update({name.replace("_", "-"): one for name, one in attributes.items() if one is not None})
        if path is not None:
            cookie[key]["path"] = path
        self.headers.add("Set-Cookie", cookie[key].OutputString())

    def delete_cookie(self, key: str, path: str | None = "/", **attributes: Any) -> None:
        self.set_cookie(key, "", path, **{**attributes, "max_age": 0, "expires": "Thu, 01 Jan 1970 00:00:00 GMT"})

    def get_data(self, as_text: bool = False) -> Any:
        """The whole body; an iterable that was given as message is read here, once."""
        whole = b"".join(self.iter_encoded())
        self._chunks = [whole]
        return whole.decode("utf-8") if as_text else whole


def environ(request: Request) -> dict[str, Any]:
    """The request as WSGI has it."""
    host, _, port = request.headers.get("host", "localhost").partition(":")
    found = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode("utf-8").decode("latin-1"),
        "QUERY_STRING": request.query,
        "SERVER_NAME": host,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.headers.get("x-forwarded-for", "").split(",")[0].strip(),
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.headers.get("x-forwarded-proto", "http"),
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        found.setdefault(key if key == "CONTENT_TYPE" else "HTTP_" + key, value)
    return found


def install_modules() -> RawHttp:
    """Puts the classes where scoring scripts import them from. Other modules of those packages stay what they are.

    Returns the decorator, which knows whether a script used it.
    """
    rawhttp = RawHttp()
    for name in REQUEST_MODULES:
        _install(name, {"AMLRequest": AMLRequest, "rawhttp": rawhttp})
    for name in RESPONSE_MODULES:
        _install(name, {"AMLResponse": AMLResponse})
    return rawhttp


def _install(name: str, members: dict[str, Any]) -> None:
    """`from NAME import x` looks for the full name first, so the packages above it need not exist; `import NAME`
    needs them, hence the empty ones where none is installed."""
    module = types.ModuleType(name, "A stand-in of the inference server for the module of this name.")
    module.__dict__.update(members)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    while parent:
        if parent not in sys.modules:
            if _installed(parent):
                break
            package = types.ModuleType(parent)
            package.__path__ = []
            sys.modules[parent] = package
        setattr(sys.modules[parent], child, sys.modules[parent + "." + child])
        parent, _, child = parent.rpartition(".")


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError, AttributeError):
        return False
