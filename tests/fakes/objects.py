"""What is in a bucket, and what waits until it is."""

from __future__ import annotations

from pathlib import Path

from smalt.blob.store.objects import ObjectStore
from smalt.blob.store.staging import Staging

BUCKET = "acct/data"


def read(store: ObjectStore, name: str) -> bytes | None:
    reader = store.open(BUCKET, name)
    if reader is None:
        return None
    try:
        return reader.read(0, reader.info.size)
    finally:
        reader.close()


def names(store: ObjectStore, *args, **kwargs) -> list[str]:
    page = store.list(BUCKET, *args, **kwargs)
    return [entry if isinstance(entry, str) else entry.name for entry in page.entries]


def staged(staging: Staging) -> list[Path]:
    return [path for path in (staging.folder / "files").rglob("*") if path.is_file()]
