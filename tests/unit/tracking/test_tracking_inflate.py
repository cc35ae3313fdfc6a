"""Compressed bodies: read as they are, bounded whatever they become."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from smalt.arm.errors import ArmError
from smalt.tracking.edge.inflate import inflated


def raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("GZip", lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:])),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw),
    ("identity", bytes),
    ("", bytes),
]


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
def test_a_body_is_what_was_packed(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    for data in (b"", b"x", b"spans" * 10_000):
        assert inflated(pack(data), encoding, 50_000) == data


@pytest.mark.parametrize(("encoding", "pack"), PACKED[:5])
def test_a_bomb_is_stopped_at_the_limit(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    bomb, most = pack(bytes(64 << 20)), 1 << 20
    tracemalloc.start()
    with pytest.raises(ArmError) as caught:
        inflated(bomb, encoding, most)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 4 * most


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        *(("gzip", b"plain", 400), ("deflate", b"plain", 400), ("gzip", gzip.compress(b"x" * 999, mtime=0)[:-9], 400)),
        *(("gzip", gzip.compress(b"x", mtime=0) + b"y", 400), ("deflate", zlib.compress(b"x") + b"y", 400)),
        *(("zstd", b"x", 415), ("br", b"x", 415), ("gzip, gzip", b"x", 415), ("x" * 500, b"x", 415)),
    ],
)
def test_what_is_not_what_it_says(encoding: str, body: bytes, status: int) -> None:
    with pytest.raises(ArmError) as caught:
        inflated(body, encoding, 1000)
    assert caught.value.status == status
