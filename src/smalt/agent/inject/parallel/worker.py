"""A worker process: it loads the entry script once, and then runs one mini-batch after the other, as it is told.

It answers on the socket that it was started with: `ready`, or `broken` with why; for each mini-batch `done` or
`failed`, and before that `begun` where the mini-batch's data had to be read first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from . import frames, mlflow_batch
from .entry import BadScript, MiniBatchContext, Script, install, load
from .results import NoResult, rows_of
from .settings import Settings
from .splitting import placed
from .table import frame
from .words import shortened

_SAYS_ALL = (BadScript, NoResult, mlflow_batch.NotScored)  # errors that we found ourselves


def main(channel: socket.socket, settings: Settings, name: str) -> None:
    sys.argv = [settings.script, *settings.arguments]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    logging.basicConfig(
        level=settings.level, stream=sys.stdout, format="%(asctime)s|%(levelname)s|%(name)s|%(message)s"
    )
    logs = Path(settings.logs, "user", "entry_script_log", f"node-{settings.rank}")
    folder = _output_folder(settings)
    install(name, str(logs), folder, settings.level)
    os.environ.setdefault("AZUREML_BI_OUTPUT_PATH", folder)
    if settings.model:
        os.environ.setdefault("AZUREML_MODEL_DIR", str(Path(settings.model).parent))
    try:
        script = load(settings.script) if settings.script else mlflow_batch.script(settings.model)
        script.init()
    except BaseException as error:  # also a SystemExit of a parser of arguments
        channel.sendall(frames.pack({"broken": _last(error), "trace": _trace(error)}))
        _leave(1)
    channel.sendall(frames.pack({"ready": True}))
    try:
        while True:
            message, _ = frames.receive(channel)
            _answer(channel, settings, script, message)
    except (frames.Closed, BrokenPipeError, ConnectionResetError):
        script.shutdown()
    _leave(0)


def _answer(channel: socket.socket, settings: Settings, script: Script, message: dict[str, Any]) -> None:
    number, batch, began = message["number"], message["batch"], time.monotonic()
    answer: dict[str, Any] = {"number": number, "items": batch.get("items") or 0}
    try:
        batch = placed(settings, batch)
        given = batch.get("files")
        if given is None:
            assert settings.table is not None
            given = frame(settings.table, batch["parts"])
            answer["items"] = len(given)
            channel.sendall(frames.pack({"begun": number}))
        items = answer["items"]
        returned = script.run(given, MiniBatchContext(number, batch.get("keys") or {}))
        rows = rows_of(returned, bool(settings.append_to), settings.header)
    except BaseException as error:
        answer.update(failed=_last(error), trace=_trace(error), seconds=time.monotonic() - began)
        channel.sendall(frames.pack(answer))
        return
    header = rows.header.decode(errors="surrogateescape")
    answer.update(done=max(items - rows.count, 0), header=header, seconds=time.monotonic() - began)
    channel.sendall(frames.pack(answer, rows.text))


def _output_folder(settings: Settings) -> str:
    """The folder that rows are appended in, or the first output, or the working directory's own."""
    if settings.append_to:
        return str(Path(settings.append_to).parent)
    for place in settings.outputs.values():
        return place if Path(place).is_dir() else str(Path(place).parent)
    return str(Path.cwd() / "outputs")


def _last(error: BaseException) -> str:
    if isinstance(error, _SAYS_ALL):
        return str(error)
    return shortened("".join(traceback.format_exception_only(type(error), error)).strip(), 2000)


def _trace(error: BaseException) -> str:
    """From the user's code on, without this file's own frames; of what we found ourselves, what it says."""
    if isinstance(error, _SAYS_ALL):
        return str(error)
    shown = error.__traceback__
    here = str(Path(__file__).parent)
    while shown is not None and shown.tb_next is not None and shown.tb_frame.f_code.co_filename.startswith(here):
        shown = shown.tb_next
    return "".join(traceback.format_exception(type(error), error, shown))[-20_000:]


def _leave(status: int) -> NoReturn:
    """Without waiting for threads of the user's."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
