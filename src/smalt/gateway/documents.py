"""Envoy's configuration files: how a document gets its version, and how it reaches the disk.

A file is a DiscoveryResponse, `{"version_info", "resources"}`. Each lies in a folder of its own, because Envoy rereads
every file of a watched folder when one moves into it. They hold keys: 0600.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smalt.auth.secret_files import replace_file
from smalt.store.document import Document

CONFIG = "type.googleapis.com/envoy.config."
EXTENSION = "type.googleapis.com/envoy.extensions."
_KEEPS_CASE = {"@type": f"{EXTENSION}http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"}
KEEP_CASE: Document = {  # header names pass HTTP/1.1 as they were written: those of blobs' metadata mean what they are
    "header_key_format": {
        "stateful_formatter": {
            "name": "envoy.http.stateful_header_formatters.preserve_case",
            "typed_config": _KEEPS_CASE,
        }
    }
}


def content_hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


class Documents:
    """Reads and writes documents. One that did not change is not parsed again (a thousand endpoints are megabytes)."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], Document]] = {}

    def read(self, path: Path) -> Document:
        """The document on disk, not to be changed; an empty one where there is none, or not a whole one."""
        try:
            stamp = _stamp(path)
            known = self._known.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            found = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        document: Document = found if isinstance(found, dict) else {}
        self._known[path] = (stamp, document)
        return document

    def write(self, path: Path, document: Document, last: Callable[[], None] | None = None) -> None:
        """`document` becomes the content of `path`, and is not to be changed any more. `last`: right before it is."""
        replace_file(path, json.dumps(document, separators=(",", ":")).encode(), last=last)
        self._known[path] = (_stamp(path), document)

    def write_resources(
        self, path: Path, version: str, resources: Sequence[Document], last: Callable[[], None] | None = None
    ) -> bool:
        """Make these the resources of `path` under `version`; False, and nothing written, if that version is there."""
        if self.read(path).get("version_info") == version:
            return False
        self.write(path, {"version_info": version, "resources": list(resources)}, last)
        return True


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def watched_file(path: Path) -> Document:
    """A ConfigSource that follows `path`: rename a new file over it, and it is in force some milliseconds later."""
    return {
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
        "resource_api_version": "V3",
    }


def json_body(code: str, message: str) -> str:
    """An error as ARM and Azure's scoring front end write it."""
    return json.dumps({"error": {"code": code, "message": message}})
