"""The server's process: start, load, serve, drain.

The main thread loads the model and is then the first worker; HTTP runs in a thread beside it, from before the model is
loaded, so that a probe is told "not yet". SIGTERM drains; a model that does not load ends the process with status 3
and the traceback as the last of its stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from .amlapi import install_modules
from .app import App
from .collected import Collected
from .config import AzureSettings, ConfigError, ServeConfig, load_user_logging
from .mlflow_model import MlflowScorer, load_mlflow
from .receiver import Receiver
from .script import ScriptScorer, load_script, schema_functions
from .swagger import Swagger
from .workers import Pool, Scorer

EXIT_LOAD = 3  # as Azure's server; its master takes it for "does not start"
BACKLOG = 1024
DRAIN_STEP_S = 0.02
ACCEPT_S = 0.05
# A script that collects also runs where its deployment collects nothing: the package then drops what it is given.
NOT_COLLECTING = {"AZUREML_MDC_ENABLED": "true", "AZUREML_MDC_SAMPLE_RATE": "0"}
SWITCH_INTERVAL_S = 0.001  # the default of 5 ms is how long HTTP would wait for a model that computes in Python


def main() -> None:
    arguments = _arguments()
    _unbuffer()
    logger = _logger()
    try:
        config = ServeConfig.from_file(arguments.config)
        settings = AzureSettings.read(os.environ, config.app_root, config.entry_script)
        logger.setLevel(settings.log_level)
        load_user_logging(config.app_root, _folder(config.entry_script))
        sockets = listen(arguments.socket, arguments.port)
    except (ConfigError, OSError, ValueError) as ex:
        print(f"the inference server cannot start: {ex}", file=sys.stderr)
        sys.exit(2)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    loop = asyncio.new_event_loop()
    collected = Collected(config.collector, logger) if config.collector else None
    scripted = collected if config.mode == "script" and collected and collected.custom() else None
    receiver = Receiver(scripted, loop, logger) if scripted else None
    app = App(config, settings, loop, collected)
    front = Front(app, loop, sockets, arguments.socket, config.drain_s, receiver, collected)
    front.start()
    os.environ.update(receiver.variables() if receiver else {**NOT_COLLECTING, **os.environ})
    try:
        scorer, swagger = load(config, settings, logger)
    except BaseException as ex:
        if collected:
            collected.close()
        _die(ex)
    if receiver:
        receiver.shorten()
    if collected and isinstance(scorer, MlflowScorer):
        collected.know_rows(scorer.records())
    gc.collect()
    gc.freeze()
    threads = settings.worker_count or config.max_concurrent
    pool = Pool(scorer, settings.scoring_timeout_ms / 1000, max(threads, 1), app.done, app.stream)
    pool.start()
    front.ready(pool, swagger)
    logger.info("ready: %s worker(s), pid %s", max(threads, 1), os.getpid())
    pool.main.run()
    if receiver:
        receiver.finish()
    if collected:
        collected.close()
    sys.stdout.flush()
    sys.stderr.flush()


def load(config: ServeConfig, settings: AzureSettings, logger: logging.Logger) -> tuple[Scorer, Swagger]:
    """Loads the model in this thread. Raises whatever the user's code raises."""
    _prepare(config, settings)
    if config.mode == "mlflow":
        model = load_mlflow(config.model_dir, config.max_batch_rows, logger)
        schemas = model.swagger_schemas()
        return model, Swagger(settings, config.app_root, ("2", "3", "3.1"), *schemas)
    rawhttp = install_modules()
    module = load_script(config.entry_script)
    scorer = ScriptScorer(module, rawhttp, logger)
    functions = schema_functions()
    swagger = Swagger(settings, config.app_root, functions.versions(scorer.run), *functions.schemas(scorer.run))
    logger.info("calling init() of %s", config.entry_script)
    scorer.finish(module.init())
    return scorer, swagger


def listen(path: str, port: int | None) -> list[socket.socket]:
    """The unix socket, there for others (mode 0600) only once it accepts; and a TCP port of loopback if asked for."""
    sockets = []
    if path:
        if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigError(f"{path} exists and is not a socket")
        fresh = f"{path}.{os.getpid()}"
        if len(os.fsencode(fresh)) > 107:
            raise ConfigError(f"the socket's path is too long for a unix socket: {path}")
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.fchmod(one.fileno(), 0o600)  # which the file has from its first moment on
        one.bind(fresh)
        one.listen(BACKLOG)
        Path(fresh).rename(path)
        sockets.append(one)
    if port is not None:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))
        one.listen(BACKLOG)
        sockets.append(one)
    for one in sockets:
        one.setblocking(False)
    return sockets


class Front:
    """The HTTP thread. Signals reach it through a wakeup pipe, also while the main thread computes in C."""

    def __init__(
        self,
        app: App,
        loop: asyncio.AbstractEventLoop,
        sockets: list[socket.socket],
        path: str,
        drain_s: float,
        receiver: Receiver | None = None,
        collected: Collected | None = None,
    ) -> None:
        self._app = app
        self._loop = loop
        self._sockets = sockets
        self._path = path
        self._drain_s = drain_s
        self._receiver = receiver
        self._collected = collected
        self._servers: list[Any] = []
        self._pool: Pool | None = None
        self._stopping = False

    def start(self) -> None:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda signum, frame: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wakeup = (reader, writer)
        threading.Thread(target=self._run, name="http", daemon=True).start()

    def ready(self, pool: Pool, swagger: Swagger) -> None:
        self._loop.call_soon_threadsafe(self._serve, pool, swagger)

    def _serve(self, pool: Pool, swagger: Swagger) -> None:
        self._pool = pool
        self._app.serve(pool, swagger)

    def _run(self) -> None:
        try:
            self._listen()
        except BaseException:  # user code has closed what is ours: a process that does not listen is replaced
            traceback.print_exc()
            _leave(1)

    def _listen(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(self._wakeup[0].fileno(), self._signalled)
        for one in self._sockets:
            unix = one.family == socket.AF_UNIX
            create: Any = self._loop.create_unix_server if unix else self._loop.create_server
            self._servers.append(self._loop.run_until_complete(create(self._app.connection, sock=one, backlog=BACKLOG)))
        if self._receiver is not None:
            receive = self._loop.create_server(self._receiver.connection, sock=self._receiver.socket)
            self._loop.run_until_complete(receive)
        self._loop.run_forever()

    def _signalled(self) -> None:
        numbers = self._wakeup[0].recv(4096)
        if any(number in (signal.SIGTERM, signal.SIGINT) for number in numbers) and not self._stopping:
            self._stopping = True
            self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        """Accept nothing new, finish what is there, end the workers."""
        if self._path and os.path.lexists(self._path):
            Path(self._path).unlink()
        if self._pool is None:
            _leave(0)  # still loading: the main thread may be anywhere in the user's code
        await asyncio.sleep(ACCEPT_S)  # what has connected before the socket went is still accepted
        for server in self._servers:
            server.close()
        end = time.monotonic() + self._drain_s
        self._app.site.drain()
        while self._app.site.connections and time.monotonic() < end:
            await asyncio.sleep(DRAIN_STEP_S)
            self._app.site.drain()  # what was accepted last and has sent nothing since
        if self._app.metrics.in_flight or self._pool is None:
            self._end()
        self._pool.stop()
        # The main thread returns now; threads of the user's that are no daemons must not hold the process.
        await asyncio.sleep(max(end - time.monotonic(), 1))
        self._end()

    def _end(self) -> NoReturn:
        if self._collected is not None:
            self._collected.close()
        _leave(0)


def _prepare(config: ServeConfig, settings: AzureSettings) -> None:
    """Variables, working folder and path as a scoring script on Azure finds them."""
    for name, value in (
        ("AZUREML_MODEL_DIR", config.model_dir),
        ("AML_APP_ROOT", config.app_root),
        ("AZUREML_ENTRY_SCRIPT", config.entry_script),
    ):
        if value:
            os.environ[name] = value
    if config.app_root:
        os.chdir(config.app_root)
    source = str(Path(config.app_root, settings.source_dir)) if settings.source_dir else ""
    folders = [config.app_root, source, _folder(config.entry_script)]
    sys.path.extend(folder for folder in folders if folder and folder not in sys.path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve.py", description="Smalt's inference server")
    parser.add_argument("--socket", default="", help="the unix socket to listen on")
    parser.add_argument("--port", type=int, default=None, help="also a TCP port of 127.0.0.1")
    parser.add_argument("--config", required=True, help="the launch file")
    arguments = parser.parse_args()
    if not arguments.socket and arguments.port is None:
        parser.error("--socket or --port is needed")
    return arguments


def _unbuffer() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, write_through=True, errors="backslashreplace")


def _logger() -> logging.Logger:
    """Ours, on stderr; the root logger is left to the user's code."""
    logger = logging.getLogger("smalt.inference")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s inference: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    return logger


def _die(ex: BaseException) -> NoReturn:
    shown = ex.__traceback__
    here = Path(__file__).parent
    while shown is not None and shown.tb_next is not None and _in_folder(shown, here):
        shown = shown.tb_next
    sys.stdout.flush()
    print("the model could not be loaded:", file=sys.stderr)
    print("".join(traceback.format_exception(type(ex), ex, shown)), end="", file=sys.stderr)
    _leave(EXIT_LOAD)


def _in_folder(frame: Any, folder: Path) -> bool:
    return Path(frame.tb_frame.f_code.co_filename).parent == folder or "importlib" in frame.tb_frame.f_code.co_filename


def _folder(path: str) -> str:
    return str(Path(path).parent) if path else ""


def _leave(status: int) -> NoReturn:
    """Without waiting for threads of the user's."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
