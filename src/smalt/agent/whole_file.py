"""Files that are read while they are written: whoever looks finds the whole of the one text or of the other."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str, *, sync: bool = False) -> None:
    """`text` becomes the file, mode 0600, whoever else writes it at that moment: each has a draft of its own.

    `sync`: it is on the disk before it is seen. Raises OSError, and leaves what was there.
    """
    draft = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(descriptor)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
