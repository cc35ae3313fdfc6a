"""Envoy's configuration files: how a document gets its version, and how it reaches the disk.

A file is a DiscoveryResponse, `{"version_info", "resources"}`. Each lies in a folder of its own, because Envoy rereads every
file of a watched folder when one moves into it. They hold keys: 0600.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smalt.auth.secret_files import replace_file

Document = dict[str, Any]

CONFIG = "type.googleapis.com/envoy.config."
EXTENSION = "type.googleapis.com/envoy.extensions."


def content_hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def read_document(path: Path) -> Document:
    """The document on disk; an empty one where there is none, or not a whole one."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_resources(path: Path, version: str, resources: Sequence[Document]) -> bool:
    """Make these the resources of `path` under `version`; False, and nothing written, where they are already."""
    document = {"version_info": version, "resources": list(resources)}
    if read_document(path) == document:
        return False
    replace_file(path, json.dumps(document, separators=(",", ":")).encode())
    return True


def watched_file(path: Path) -> Document:
    """A ConfigSource that follows `path`: rename a new file over it, and it is in force some milliseconds later."""
    return {
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
        "resource_api_version": "V3",
    }


def json_body(code: str, message: str) -> str:
    """An error as ARM and Azure's scoring front end write it."""
    return json.dumps({"error": {"code": code, "message": message}})
