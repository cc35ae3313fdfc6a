"""The one place that imports azure-ai-ml: its loaders, its uploads, and its printing of what we do not know."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from .connection import Connection
from .errors import MLError, NoSDK

VERSION = "1.35.2"  # what the wheel asks for
_QUIET = ("azure", "azure.ai.ml", "msrest", "azure.identity")


@cache
def _package() -> Any:
    """Without the warnings of experimental classes, which are for programmers. Raises NoSDK where it is missing."""
    warnings.simplefilter("ignore")
    try:
        import azure.ai.ml as package
        from azure.ai.ml.entities import _load_functions  # load_schedule is in the package's index of no version
    except ImportError as error:
        raise NoSDK(
            f"This command needs the package azure-ai-ml: pip install azure-ai-ml=={VERSION} ({error})"
        ) from None
    for name in _QUIET:  # after the import, which sets levels of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return package, _load_functions


def client(connection: Connection) -> Any:
    """An MLClient with the same server, login and workspace or registry."""
    package, _ = _package()
    with told():
        if connection.registry:
            return package.MLClient(connection.credential(), registry_name=connection.registry)
        return package.MLClient(
            connection.credential(), connection.subscription, connection.group, connection.workspace or None
        )


def loaded(loader: str, file: str, overrides: Mapping[str, Any]) -> Any:
    """The entity that a YAML file describes. Raises MLError for a file that is missing or not right."""
    if not Path(file).exists():
        raise MLError(f"No such file or directory: {file}")
    if not Path(file).is_file():
        raise MLError(f"{file} is no file: name the YAML file itself.")
    _, loaders = _package()
    with told():
        return getattr(loaders, loader)(file, params_override=[{key: value} for key, value in overrides.items()])


def made(loader: str, document: Mapping[str, Any]) -> Any:
    """The entity of a document that options describe, in the working directory."""
    import yaml

    _, loaders = _package()
    text = io.StringIO(yaml.safe_dump(dict(document)))
    text.name = str(Path.cwd() / "options.yml")  # relative paths are relative to this
    with told():
        return getattr(loaders, loader)(text)


def saved(connection: Connection, operations: str, entity: Any, wait: bool = True, **options: Any) -> Any:
    """The entity as the server has it now, or None where it is not waited for."""
    with told():
        asked = getattr(client(connection), operations)
        for name in ("begin_create_or_update", "create_or_update", "begin_create"):
            if (method := getattr(asked, name, None)) is not None:
                break
        else:
            raise MLError(f"azure-ai-ml has no way to create {operations}")
        with _output_on_stderr():
            answer = method(entity, **options)
            if name.startswith("begin_"):
                return answer.result() if wait else None
        return answer


def called(connection: Connection, operations: str, method: str, /, **arguments: Any) -> Any:
    """What a method of the SDK gives."""
    with told(), _output_on_stderr():
        return getattr(getattr(client(connection), operations), method)(**arguments)


def data(type_: str, path: str) -> Any:
    """What `invoke` takes as an input."""
    return ports("Input", {"": {"type": type_, "path": path}})[""]


def ports(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs or outputs by name, from YAML's; a value alone is an input, too. Raises MLError for what is none."""
    package, _ = _package()
    with told():
        return {
            name: getattr(package, kind)(**(one if isinstance(one, Mapping) else _value(one)))
            for name, one in given.items()
        }


def _value(given: Any) -> dict[str, Any]:
    types = {bool: "boolean", int: "integer", float: "number"}
    return {"type": types.get(type(given), "string"), "default": given}


def printed(connection: Connection, operations: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """What the server's document is in YAML; it is read again."""
    path = document["id"].split("/")
    arguments: dict[str, Any] = {"name": path[-1]}
    if len(path) > 3 and path[-2].lower() == "versions":
        arguments = {"name": path[-3], "version": path[-1]}
    elif path[-2].lower() == "deployments":
        arguments["endpoint_name"] = path[-3]
    with told():
        return as_json(getattr(client(connection), operations).get(**arguments))


def as_json(entity: Any) -> Any:
    """What `_to_dict()` gives, with plain values. A command job comes as a builder, which is no job yet."""
    if hasattr(entity, "_to_job"):
        entity = entity._to_job()
    return _plain(entity._to_dict() if hasattr(entity, "_to_dict") else entity)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the SDK raises becomes an MLError with its own words."""
    try:
        yield
    except MLError:
        raise
    except KeyboardInterrupt:
        raise
    except Exception as error:
        raise MLError(_words(error), getattr(error, "status_code", None)) from error


def _words(error: Exception) -> str:
    message = getattr(error, "message", None) or str(error)
    return str(message).strip() or type(error).__name__


@contextlib.contextmanager
def _output_on_stderr() -> Iterator[None]:
    """Progress that the SDK prints must not be in the JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
