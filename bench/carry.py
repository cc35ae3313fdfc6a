"""How fast do 10,000 small blobs come to a task, beside what obstore alone reaches?

    python bench/carry.py [--files 10000] [--size 4096] [--delay-ms 0] [--rounds 3]

The store is a folder (obstore's LocalStore); `--delay-ms` adds the time that a store over a network takes to answer, to
each call of both. "obstore alone" writes each blob to a file with as many threads as the engine has. Prints files a
second: alone, a task's first fetch, and a second task's, which finds all of them in the cache.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore

from smalt.agent.wire import InputSpec, Phase, Ref, TaskSpec
from smalt.arm.ports import Carried
from smalt.engines.local import Finder, LocalEngine
from smalt.engines.local.carry.carriage import TRANSFERS
from smalt.settings import Settings


class Remote:
    """A `Carrier` that reads with obstore and forgets what it is given."""

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


def alone(remote: Remote, refs: list[Ref], folder: Path) -> float:
    """Seconds."""
    folder.mkdir()
    begun = time.perf_counter()
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(lambda one: remote.fetch(one[1], folder / str(one[0])), enumerate(refs)))
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
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        data = root / "store" / "account" / "container" / "data"
        data.mkdir(parents=True)
        for index in range(options.files):
            (data / f"{index:06}").write_bytes(b"x" * options.size)
        remote = Remote(LocalStore(root / "store"), options.delay_ms / 1000)
        source = Ref("account", "container", "data/")
        refs = [source.below(f"{index:06}") for index in range(options.files)]
        rates: dict[str, list[float]] = {"obstore alone": [], "first task": [], "second task": []}
        for at in range(options.rounds):
            engine = LocalEngine(Settings(root=root / f"s{at}"), Finder(lambda *_: Path(), Path, carrier=remote))
            rates["obstore alone"].append(options.files / alone(remote, refs, root / f"alone{at}"))
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
