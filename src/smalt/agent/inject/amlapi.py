"""`rawhttp`, `AMLRequest` and `AMLResponse`: what scoring scripts that want the HTTP request itself import.

On Azure these come from `azureml.contrib.services` or `azureml_inference_server_http.api`, where they are Flask's
request and response. Scripts import them by those names, so our classes answer to those names, with the attributes of
Flask's that scoring scripts use, and without Flask.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import types
from email.parser import BytesParser
from email.policy import HTTP
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping
from urllib.parse import parse_qsl

from .http1 import Request

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


class MultiDict(dict):
    """A dict of the first values, with `getlist` for all of them, as werkzeug's MultiDict."""

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        self._lists: dict[str, list[Any]] = {}
        for key, value in pairs:
            self._lists.setdefault(key, []).append(value)
            self.setdefault(key, value)

    def get(self, key: str, default: Any = None, type: Callable[[Any], Any] | None = None) -> Any:
        value = super().get(key, default)
        if type is None or key not in self:
            return value
        try:
            return type(value)
        except (ValueError, TypeError):
            return default

    def getlist(self, key: str, type: Callable[[Any], Any] | None = None) -> list[Any]:
        values = list(self._lists.get(key, []))
        return values if type is None else [type(value) for value in values]

    def lists(self) -> Iterator[tuple[str, list[Any]]]:
        return iter(self._lists.items())

    def to_dict(self, flat: bool = True) -> dict[str, Any]:
        return dict(self) if flat else {key: list(values) for key, values in self._lists.items()}


class Headers:
    """Headers with case-insensitive names, in order, repeated ones kept."""

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        self._pairs = [(key, str(value)) for key, value in pairs]

    def __getitem__(self, name: str) -> str:
        for key, value in self._pairs:
            if key.lower() == name.lower():
                return value
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        at = next((i for i, (key, _) in enumerate(self._pairs) if key.lower() == name.lower()), len(self._pairs))
        self.remove(name)
        self._pairs.insert(at, (name, str(value)))

    def __delitem__(self, name: str) -> None:
        self.remove(name)

    def __contains__(self, name: object) -> bool:
        return any(key.lower() == str(name).lower() for key, _ in self._pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(list(self._pairs))

    def __len__(self) -> int:
        return len(self._pairs)

    def get(self, name: str, default: Any = None, type: Callable[[Any], Any] | None = None) -> Any:
        if name not in self:
            return default
        return self[name] if type is None else type(self[name])

    def getlist(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key.lower() == name.lower()]

    def add(self, name: str, value: Any) -> None:
        self._pairs.append((name, str(value)))

    add_header = add

    def set(self, name: str, value: Any) -> None:
        self[name] = value

    def setdefault(self, name: str, value: Any) -> str:
        if name not in self:
            self.add(name, value)
        return self[name]

    def remove(self, name: str) -> None:
        self._pairs = [(key, value) for key, value in self._pairs if key.lower() != name.lower()]

    def update(self, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            self[key] = value

    def keys(self) -> list[str]:
        return [key for key, _ in self._pairs]

    def values(self) -> list[str]:
        return [value for _, value in self._pairs]

    def items(self) -> list[tuple[str, str]]:
        return list(self._pairs)


def title_case(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The names as Flask shows them to run(): `Content-Type`, `X-Ms-Request-Id`."""
    return [("-".join(part.capitalize() for part in name.split("-")), value) for name, value in headers.items()]


class FileStorage:
    """One uploaded file."""

    def __init__(self, name: str, filename: str, content: bytes, content_type: str | None) -> None:
        self.name = name
        self.filename = filename
        self.stream = io.BytesIO(content)
        self.content_type = content_type
        self.mimetype = (content_type or "").split(";")[0].strip()
        self.content_length = len(content)

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.stream.seek(offset, whence)

    def readline(self) -> bytes:
        return self.stream.readline()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.stream)

    def save(self, destination: Any) -> None:
        if hasattr(destination, "write"):
            destination.write(self.stream.read())
            return
        with Path(destination).open("wb") as file:
            file.write(self.stream.read())

    def close(self) -> None:
        self.stream.close()


class AMLRequest:
    """The request that a @rawhttp run() receives."""

    def __init__(self, request: Request) -> None:
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
        self.user_agent = request.headers.get("user-agent", "")
        self.remote_addr = request.headers.get("x-forwarded-for", "").split(",")[0].strip() or None
        self.cookies = {name: one.value for name, one in SimpleCookie(request.headers.get("cookie", "")).items()}
        self.stream = io.BytesIO(request.body)
        self._body = request.body
        self._parts: tuple[MultiDict, MultiDict] | None = None

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
        if not (force or self.is_json):
            if silent:
                return None
            raise ValueError("the request's Content-Type is not application/json")
        try:
            return json.loads(self._body)
        except ValueError:
            if silent:
                return None
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


def parse_multipart(body: bytes, content_type: str) -> tuple[MultiDict, MultiDict]:
    """The fields and the files of a multipart/form-data body.

    Split by hand at the boundary: the email package would decode binary parts line by line and change their ends.
    """
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n")
    boundary = message.get_boundary()
    fields: list[tuple[str, Any]] = []
    files: list[tuple[str, Any]] = []
    if not boundary:
        return MultiDict(), MultiDict()
    mark = b"\r\n--" + boundary.encode("latin-1")
    for piece in (b"\r\n" + body).split(mark)[1:]:
        if piece.startswith(b"--"):
            break
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank:
            continue
        part = BytesParser(policy=HTTP).parsebytes(head.lstrip(b" \t\r\n") + b"\r\n\r\n")
        name = part.get_param("name", header="content-disposition")
        filename = part.get_filename()
        if filename is not None:
            files.append((str(name), FileStorage(str(name), filename, content, part.get("content-type"))))
        elif name is not None:
            fields.append((str(name), content.decode("utf-8", "replace")))
    return MultiDict(fields), MultiDict(files)


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
        self.status_code = int(status_code.split()[0] if isinstance(status_code, str) else status_code)
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
    def status(self) -> int:
        return self.status_code

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

    def get_data(self, as_text: bool = False) -> Any:
        """The whole body; an iterable that was given as message is read here, once."""
        pieces = [one.encode("utf-8") if isinstance(one, str) else bytes(one) for one in self._chunks]
        whole = b"".join(pieces)
        self._chunks = [whole]
        return whole.decode("utf-8") if as_text else whole


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
