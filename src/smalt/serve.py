"""The server as it runs: requests on a unix socket, the control loop and all else in threads beside it, until a signal.

python -m smalt.serve --root ROOT
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
from pathlib import Path

import uvicorn

from smalt.app import build
from smalt.arm.outage import StoreAway
from smalt.auth.certificates import keep_renewed
from smalt.config import read_settings
from smalt.making import wait_until_made
from smalt.reserve import Reserve
from smalt.server_socket import BACKLOG, EndingServer, PeerProtocol, serve_beside
from smalt.settings import Settings, SettingsError
from smalt.tracking.database.start import settle as settle_tables
from smalt.tracking.process import mlflow_server
from smalt.unix_socket import listen, say

log = logging.getLogger("smalt")
RESERVE_EVERY_S = 60.0


def serve(settings: Settings) -> None:
    """Until a signal comes: requests on the unix socket, the loop in a thread of its own."""
    reserve = Reserve(settings.root)
    if reserve.make_room():
        log.warning("the disk is full: the reserve was given up")
    if not settle_tables(settings):
        say(settings.needs_socket, mlflow_server.NAME)
    server = build(settings)
    server.listener.start()
    server.loop.resume()
    thread = threading.Thread(target=server.loop.run, name="loop", daemon=True)
    thread.start()
    threading.Thread(target=server.orphans.run, name="orphans", daemon=True).start()
    stopped = threading.Event()
    threading.Thread(target=keep_reserve, args=(reserve, stopped), name="reserve", daemon=True).start()
    threading.Thread(target=keep_renewed, args=(settings, stopped), name="certificates", daemon=True).start()
    collecting = threading.Thread(target=server.collector.run, args=(stopped,), name="metrics", daemon=True)
    collecting.start()
    threading.Thread(target=server.scaler.run, args=(stopped,), name="scaling", daemon=True).start()
    threading.Thread(target=server.watch.run, args=(stopped,), name="alerts", daemon=True).start()
    threading.Thread(target=server.crowds.run, args=(stopped,), name="crowds", daemon=True).start()
    held = (server.asleep, settings.asleep_socket, stopped)
    threading.Thread(target=serve_beside, args=held, name="asleep", daemon=True).start()
    door = listen(settings.services_socket, BACKLOG)
    threading.Thread(target=server.services.run, args=(door, stopped), name="services", daemon=True).start()
    if server.delivery is not None:
        threading.Thread(target=server.delivery.run, name="openlineage", daemon=True).start()
    config = uvicorn.Config(
        server.app,
        loop="uvloop",
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=60,
    )

    def ending() -> None:
        server.platform.hub.close()
        server.remote.close()

    os.umask(0o077)  # noqa: TID251
    gc.freeze()  # what is there now stays
    gc.enable()
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(EndingServer(config, ending).serve([listen(settings.server_socket, BACKLOG)]))
    stopped.set()
    server.collector.wake()
    server.scaler.stop()
    server.watch.stop()
    server.loop.stop()
    server.orphans.stop()
    if server.delivery is not None:
        server.delivery.stop()
    for one in (thread, collecting):
        one.join(timeout=10)
    server.listener.stop()
    server.platform.audit.settle(all_=True)


def keep_reserve(reserve: Reserve, stopped: threading.Event) -> None:
    """Made where it is missing and there is space for it."""
    while True:
        with contextlib.suppress(OSError):
            reserve.restore()
        if stopped.wait(RESERVE_EVERY_S):
            return


def main() -> None:
    parser = argparse.ArgumentParser(description="The Smalt server; `smalt up` starts it.")
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for talkative in ("httpx", "asyncssh"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    try:
        settings = read_settings(arguments.root)
        wait_until_made(settings.run)
        serve(settings)
    except (SettingsError, StoreAway) as error:
        sys.exit(f"smalt: {error}")


if __name__ == "__main__":
    main()
