"""`Carrier` over the line to the server: what the node's tasks name goes and comes by HTTPS, with the node's token."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.arm.ports import Carried
from smalt.engines.remote.messages import PREFIX

_CHUNK = 1 << 20
_UNTOLD_EVERY_S = 0.5
_TIMEOUT = httpx.Timeout(10, read=120, write=120)
_LATER = (408, 412, 423, 425, 429)  # what another try may mend
_FULL = "InsufficientStorage"  # the platform's disk, which somebody frees


class NodeCarrier:
    """`client` has the server's address and the token, and as many connections as there are threads that carry."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.append_every_s = _UNTOLD_EVERY_S  # as the last append was told

    def list(self, ref: Ref) -> Iterator[Carried]:
        after = ""
        while True:
            found = self._ask("GET", "blobs", ref, after=after).json()
            for one in found["entries"]:
                yield Carried(one["name"], one["size"], one["etag"])
            after = found["after"]
            if not after:
                return

    def fetch(self, ref: Ref, path: Path, etag: str = "") -> None:
        part = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}")
        headers = {"If-Match": f'"{etag}"'} if etag else {}
        try:
            with (
                self._client.stream(
                    "GET", f"{PREFIX}/blob", params=_named(ref), headers=headers, timeout=_TIMEOUT
                ) as got,
                part.open("wb") as file,
            ):
                check(got)
                for chunk in got.iter_bytes(_CHUNK):
                    file.write(chunk)
            part.rename(path)
        except httpx.HTTPError as error:
            raise torn(error) from error
        finally:
            part.unlink(missing_ok=True)

    def store(self, path: Path, ref: Ref) -> None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            body = _read(file, size)
            self._ask("PUT", "blob", ref, content=body, headers={"Content-Length": str(size)})

    def write(self, ref: Ref, data: bytes) -> None:
        """The blob is these bytes."""
        self._ask("PUT", "blob", ref, content=data)

    def append(self, ref: Ref, at: int, data: bytes) -> int:
        told = self._ask("POST", "blob", ref, content=data, at=at).json()
        self.append_every_s = float(told.get("every_s", _UNTOLD_EVERY_S))
        return int(told["length"])

    def seal(self, ref: Ref) -> None:
        """It has grown in one piece."""

    def _ask(
        self, method: str, path: str, ref: Ref, content: Any = None, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        try:
            answer = self._client.request(
                method,
                f"{PREFIX}/{path}",
                params={**_named(ref), **more},
                content=content,
                headers=headers,
                timeout=_TIMEOUT,
            )
        except httpx.HTTPError as error:
            raise torn(error) from error
        check(answer)
        return answer


def _named(ref: Ref) -> dict[str, str]:
    return {"account": ref.account, "container": ref.container, "name": ref.name}


def _read(file: Any, size: int) -> Iterator[bytes]:
    """As many bytes as were said, though the file grows."""
    while size > 0 and (chunk := file.read(min(_CHUNK, size))):
        size -= len(chunk)
        yield chunk


def torn(error: httpx.HTTPError) -> OSError:
    return OSError(f"the platform's blobs cannot be reached ({error or type(error).__name__})")


def check(answer: httpx.Response) -> None:
    """Raises ArmError for what no try mends, and OSError for the rest."""
    if answer.status_code == 200:
        return
    answer.read()
    try:
        error = answer.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "ServerError", f"the server answered {answer.status_code}"
    if answer.status_code >= 500 or answer.status_code in _LATER or code == _FULL:
        raise OSError(message)
    raise ArmError(answer.status_code, code, message)
