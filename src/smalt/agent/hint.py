"""What an agent sends to the server when the state of its task has changed."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Hint:
    """One datagram: `task` changed (empty: something else), so look at `owner`. Losing one costs time, never truth."""

    owner: str
    task: str

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def send(self, address: str) -> None:
        """To the server's socket; lost where nobody listens: the server looks for itself when it is back."""
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(0.2)  # a full queue empties in microseconds; a dead server must not hold anybody up
            channel.sendto(self.to_bytes(), address)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ValueError for anything else than a hint."""
        raw = json.loads(data)
        if not isinstance(raw, dict) or not isinstance(raw.get("owner"), str) or not isinstance(raw.get("task"), str):
            raise ValueError("not a hint")
        return cls(raw["owner"], raw["task"])
