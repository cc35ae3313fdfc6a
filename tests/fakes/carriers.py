"""A store without files, for the engine: folders that it knows through a `Carrier` alone, with faults on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.arm.ports import Carried

BOTH = pytest.mark.parametrize("local", ["files", "carried"], indirect=True)

Fault = Callable[[str, Ref], None]


class FolderCarrier:
    """Blobs are at the paths that they are named by, as with `fakes.refs`.

    `fault(call, ref)` is asked before each call, and raises or waits. `calls` counts those that came through, `sealed`
    has what was sealed, `bytes` what was fetched.
    """

    def __init__(self) -> None:
        self.fault: Fault = lambda call, ref: None
        self.calls: Counter[str] = Counter()
        self.stored: list[str] = []
        self.sealed: list[Ref] = []
        self.bytes = 0
        self._lock = threading.Lock()
        self.append_every_s = 0.04
        self._gate = threading.Event()

    def fails(self, *calls: str, times: int = 10**9, error: BaseException | None = None) -> None:
        """So many of these calls raise; by default what a store that is down does."""
        left = [times]

        def fault(call: str, ref: Ref) -> None:
            with self._lock:
                if call not in calls or left[0] <= 0:
                    return
                left[0] -= 1
            raise error or OSError("503 Service Unavailable")

        self.fault = fault

    def hangs(self, call: str) -> threading.Event:
        """These calls do not return before `heal`; the event is set when one hangs."""
        hanging = threading.Event()
        gate = self._gate = threading.Event()

        def fault(one: str, ref: Ref) -> None:
            if one == call:
                hanging.set()
                gate.wait()

        self.fault = fault
        return hanging

    def heal(self) -> None:
        self.fault = lambda call, ref: None
        self._gate.set()

    def list(self, ref: Ref) -> Iterator[Carried]:
        self._begin("list", ref)
        place = Path(ref.name)
        if place.is_file():
            yield Carried("", place.stat().st_size, _etag(place))
        elif place.is_dir():
            for one in sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink()):
                yield Carried(str(one.relative_to(place)), one.stat().st_size, _etag(one))

    def fetch(self, ref: Ref, path: Path, etag: str = "") -> None:
        self._begin("fetch", ref)
        source = Path(ref.name)
        if not source.is_file():
            raise ArmError(404, "BlobNotFound", f"There is no blob '{ref.name}'.")
        if etag and _etag(source) != etag:
            raise OSError(f"'{ref.name}' was changed")
        data = source.read_bytes()
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        part.rename(path)
        with self._lock:
            self.bytes += len(data)

    def store(self, path: Path, ref: Ref) -> None:
        self._begin("store", ref)
        target = Path(ref.name)
        data = path.read_bytes()
        with self._lock:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            try:
                part.write_bytes(data)
                part.rename(target)
            finally:
                part.unlink(missing_ok=True)
            self.stored.append(ref.name)

    def append(self, ref: Ref, at: int, data: bytes) -> int:
        self._begin("append", ref)
        target = Path(ref.name)
        with self._lock:
            length = target.stat().st_size if target.exists() else 0
            if length != at:
                return length
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("ab") as file:
                file.write(data)
        self.fault("appended", ref)
        return length + len(data)

    def seal(self, ref: Ref) -> None:
        self._begin("seal", ref)
        self.sealed.append(ref)

    def _begin(self, call: str, ref: Ref) -> None:
        self.fault(call, ref)
        with self._lock:
            self.calls[call] += 1


def _etag(path: Path) -> str:
    info = path.stat()
    return f"{info.st_mtime_ns}-{info.st_size}-{info.st_ino}"
