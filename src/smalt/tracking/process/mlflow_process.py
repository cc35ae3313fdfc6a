"""MLflow's own server on a unix socket that only the edge can reach.

First the database. Where it has to be made, or upgraded, that is all that it was started for, and it ends. Else the
rest of MLflow, which takes seconds to import; then the socket, so that whoever can connect gets answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import os
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn
import uvloop
from mlflow.store.artifact.artifact_repository_registry import (
    _artifact_repository_registry as repositories,  # pyright: ignore[reportPrivateUsage]
)
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import OperationalError

from smalt.arm.ports import BlobFiles
from smalt.auth.private_files import PrivateFiles
from smalt.settings import Settings
from smalt.tracking.artifacts.artifact_names import staging
from smalt.tracking.artifacts.files import Files
from smalt.tracking.artifacts.folder import Folder
from smalt.tracking.artifacts.model_files import ModelFiles, place_in
from smalt.tracking.artifacts.objects import Objects
from smalt.tracking.database import schema
from smalt.tracking.database.migration import prepare
from smalt.tracking.database.place import apart, tables_url
from smalt.tracking.database.relocation import relocate
from smalt.tracking.database.tracking_database import TrackingDatabase
from smalt.tracking.process.idle_watch import IdleWatch
from smalt.tracking.process.mlflow_refusals import answer_in_json
from smalt.tracking.process.repository import SCHEME, repository_class
from smalt.unix_socket import listen

_BACKLOG = 256
_LAST_WAIT_S = 0.1
_THREADS = 8  # Python under one interpreter lock: more would only wait, and cost memory


def run(settings: Settings, objects: BlobFiles | None = None) -> None:
    """Until nobody needs it; where the tables had to be made, until they are: nobody could ask for more before.

    `objects`: the blobs where they are no files of this machine.
    """
    url, password = apart(tables_url(settings))
    if password:
        os.environ["PGPASSWORD"] = password  # for libpq alone: MLflow, its errors and its log never have it
    store = url.render_as_string()
    os.environ |= {"_MLFLOW_SERVER_FILE_STORE": store, "_MLFLOW_SERVER_REGISTRY_STORE": store}
    made = _prepared(settings)
    database = TrackingDatabase(settings)
    with database.write() as connection:
        relocate(connection, settings)
    if made:
        return
    event.listen(Engine, "connect", _prepare_connection)
    repositories.register(SCHEME, repository_class(folders(settings, database, objects)))
    # Only now: importing the server takes as long as all before, and jobs need no more than the database.
    app = importlib.import_module("mlflow.server.fastapi_app").app
    importlib.import_module("mlflow.server.handlers").initialize_backend_stores(
        store, store, os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"]
    )
    answer_in_json(importlib.import_module("mlflow.server").app)
    _give_back_memory()
    watched = IdleWatch(app, settings.mlflow_idle_s)
    server = uvicorn.Server(
        uvicorn.Config(watched, log_level="warning", access_log=False, timeout_keep_alive=120, server_header=False)
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(server, listen(settings.mlflow_socket, _BACKLOG), watched, settings.mlflow_socket))


def folders(settings: Settings, database: TrackingDatabase, objects: BlobFiles | None = None) -> Any:
    """The files of a workspace by MLflow's name for it."""

    def files_of(workspace: str) -> ModelFiles:
        table = schema.accounts
        with database.read() as connection:
            name = connection.scalar(select(table.c.account).where(table.c.workspace == workspace))
        if name is None:
            raise LookupError(f"MLflow's workspace {workspace} has no storage account.")
        hides, waiting = PrivateFiles(settings).hides, staging(settings)

        def container(one: str) -> Files:
            if objects is not None:
                return Objects(objects, name, one, waiting)
            return Folder(settings.blobs / name / one, waiting, hides)

        return ModelFiles(container, place_in(database, workspace))

    return files_of


def _prepared(settings: Settings) -> bool:
    """As `prepare`. The supervisor starts this again: a database that is away is a line of the log and no traceback."""
    try:
        return prepare(settings)
    except OperationalError as error:
        sys.exit(f"smalt: MLflow's database cannot be used: {error.orig}")


async def _serve(server: uvicorn.Server, listener: socket.socket, watched: IdleWatch, path: Path) -> None:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    ending = asyncio.create_task(_end_when_idle(server, watched, path))
    await server.serve(sockets=[listener])
    ending.cancel()


async def _end_when_idle(server: uvicorn.Server, watched: IdleWatch, path: Path) -> None:
    """Nobody new comes once the socket's name is gone, and who came just before is answered first."""
    await watched.idle()
    path.unlink(missing_ok=True)
    await asyncio.sleep(_LAST_WAIT_S)
    while watched.busy:
        await asyncio.sleep(_LAST_WAIT_S)
    server.should_exit = True


def _prepare_connection(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=NORMAL")  # enough under WAL: a kill of the process loses nothing
        connection.execute("PRAGMA busy_timeout=20000")


def _give_back_memory() -> None:
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
