"""Environments between the machines of a cluster: what one has built the others fetch, from the platform's store."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from smalt.arm.errors import ArmError
from smalt.engines.remote.messages import PREFIX, SHA256_HEADER
from smalt.environments import UvEnvironments
from smalt.node.carrier import check, torn

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_PATH = f"{PREFIX}/environment"
_TIMEOUT = httpx.Timeout(10, read=60, write=60)
_SLOW_S, _SLOW_RATE = 60.0, 1 << 20  # what comes more slowly (bytes a second) is given up after so long
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _TRIES = 1.0, 60.0, 10
_NONE = (404, 409, 410)  # there is none, it is not wanted, or it is not ours to ask for
_FULL = 422  # the disk of the platform, which tasks wait for (carrier.py)


class NodePacks:
    """`client` has the server's address and the node's token. Raises nothing: without a pack it is built, as ever."""

    def __init__(self, client: httpx.Client, environments: UvEnvironments) -> None:
        self._client, self._environments = client, environments
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def left(self) -> list[str]:
        """What a service before this one has packed and not stored; what it had half fetched is removed."""
        for part in self._environments.fetched("x").parent.glob("*[0-9a-f].tar.part"):  # no key ends as `.own` does
            part.unlink(missing_ok=True)
        return [one.name.partition(".")[0] for one in self._environments.packed("x").parent.glob("*.own.tar.gz")]

    def close(self) -> None:
        self._closed.set()

    def fetch(self, key: str, definition: Mapping[str, Any]) -> bool:
        """Whether it is where the build looks for it. Not where this machine has chosen versions of its own before."""
        if self._environments.lock(key) is not None:
            return False
        path = self._environments.fetched(key)
        try:
            return self._fetch(key, self._environments.platform(definition), path)
        except (ArmError, OSError) as error:
            _LOG.warning("environment %s cannot be fetched, it is built here: %s", key, error)
            return False

    def drop(self, key: str) -> None:
        """What was fetched, and nobody waits for any more."""
        with suppress(OSError):
            self._environments.fetched(key).unlink(missing_ok=True)

    def wanted(self, key: str) -> bool:
        """Whether the platform lacks it for machines like this one, and takes this one's; also where it is away."""
        try:
            found = self._client.head(_PATH, params=self._named(key), timeout=_TIMEOUT)
        except httpx.HTTPError:
            return True
        except OSError as error:
            _LOG.warning("environment %s is not packed: %s", key, error)
            return False
        return found.status_code == 404 or found.status_code >= 500

    def offer(self, key: str) -> None:
        """Store what was packed; tried again for some minutes. The file is used up."""
        path = self._environments.packed(key)
        if not path.exists():
            return
        try:
            self._patiently(lambda: self.wanted(key) and self._store(path, self._named(key)))
        except (ArmError, OSError) as error:
            _LOG.warning("environment %s could not be stored for the other machines: %s", key, error)
        finally:
            if not self.closed:  # else the next service goes on
                path.unlink(missing_ok=True)

    def _named(self, key: str) -> dict[str, str]:
        return {"key": key, "platform": self._environments.built_for(key)}

    def _fetch(self, key: str, platform: str, path: Path) -> bool:
        """Whether it is there. Raises ArmError, and OSError, also of one that trickles in: to build it takes less."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part, digest = path.with_suffix(".part"), hashlib.sha256()
        begun, came = time.monotonic(), 0
        try:
            with self._client.stream("GET", _PATH, params={"key": key, "platform": platform}, timeout=_TIMEOUT) as got:
                if got.status_code in _NONE:
                    return False
                check(got)
                with part.open("wb") as file:
                    for chunk in got.iter_raw():  # as it comes: who waits for a full piece may wait for ever
                        digest.update(chunk)
                        file.write(chunk)
                        came += len(chunk)
                        if self.closed or time.monotonic() - begun > _SLOW_S + came / _SLOW_RATE:
                            raise OSError(f"only {came} bytes of it came in {time.monotonic() - begun:.0f} s")
            if digest.hexdigest() != got.headers.get(SHA256_HEADER):
                raise OSError("what came is not what was stored")
            part.replace(path)
            return True
        except httpx.HTTPError as error:
            raise torn(error) from error
        finally:
            part.unlink(missing_ok=True)

    def _store(self, path: Path, named: dict[str, str]) -> None:
        """Raises ArmError where it is not taken, and OSError."""
        size = path.stat().st_size
        with path.open("rb") as file:
            headers = {"Content-Length": str(size)}
            try:
                answer = self._client.put(_PATH, params=named, content=_read(file), headers=headers, timeout=_TIMEOUT)
            except httpx.HTTPError as error:
                raise torn(error) from error
        if answer.status_code == _FULL:  # what nobody needs is not sent again and again to where there is no room
            raise ArmError(_FULL, "InsufficientStorage", "the platform's disk is full")
        check(answer)

    def _patiently(self, do: Callable[[], object]) -> None:
        """Raises ArmError, and OSError after the last try."""
        pause = _FIRST_PAUSE_S
        for left in reversed(range(_TRIES)):
            try:
                do()
                return
            except OSError:
                if not left or self._closed.wait(pause * random.uniform(0.7, 1.3)):
                    raise
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _read(file: Any) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
