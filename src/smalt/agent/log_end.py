"""The end of a log that is over its bound, where the agent and its warden both see it."""

from __future__ import annotations

import mmap
import struct

END_BYTES = 64 << 10
_COUNT = struct.Struct("Q")


class LogEnd:
    """The newest bytes of what is dropped: a ring in memory that processes forked later share.

    It outlives whoever is killed, but for what it had just read. Pages are taken when something is dropped.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _COUNT.size + END_BYTES)

    @property
    def dropped(self) -> int:
        """How many bytes there were, in all."""
        (count,) = _COUNT.unpack_from(self._memory)
        return int(count)

    def add(self, data: bytes) -> None:
        dropped = self.dropped + len(data)
        kept = data[-END_BYTES:]
        begin = (dropped - len(kept)) % END_BYTES
        until_wrap = END_BYTES - begin
        self._put(begin, kept[:until_wrap])
        self._put(0, kept[until_wrap:])
        _COUNT.pack_into(self._memory, 0, dropped)

    def newest(self) -> bytes:
        """At most END_BYTES, the oldest first."""
        dropped, ring = self.dropped, self._memory[_COUNT.size :]
        if dropped <= END_BYTES:
            return ring[:dropped]
        oldest = dropped % END_BYTES
        return ring[oldest:] + ring[:oldest]

    def clear(self) -> None:
        """It is in the log."""
        _COUNT.pack_into(self._memory, 0, 0)

    def _put(self, at: int, data: bytes) -> None:
        self._memory[_COUNT.size + at : _COUNT.size + at + len(data)] = data
