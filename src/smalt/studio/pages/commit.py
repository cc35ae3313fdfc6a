"""The page of a commit, on whatever host its repository has: of what a client said of git when it submitted a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

_SCP = re.compile(r"[\w.-]+@([\w.-]+):(?!/)(.+)")  # as git writes what is reached with ssh
_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
_PLACES = {"gitlab": "/-/commit/", "bitbucket": "/commits/"}  # others have what GitHub, Gitea and Azure DevOps have


def page_of(git: Mapping[str, Any]) -> str:
    """An address of HTTPS, without a user or password; '' where none can be known."""
    said = {key.rpartition(".")[2].lower(): str(value).strip() for key, value in git.items() if value}
    commit = said.get("commit", "")
    host, path = _repository(said.get("repository_uri") or said.get("repourl") or "")
    if not host or not path or not _COMMIT.fullmatch(commit):
        return ""
    place = next((place for name, place in _PLACES.items() if name in host), "/commit/")
    return f"https://{host}/{quote(path, safe='/~%')}{place}{commit}"


def _repository(address: str) -> tuple[str, str]:
    """Host, with the port of a site, and path without `.git`; empty for a folder and for what is none."""
    if found := _SCP.fullmatch(address):
        host, path = found[1], found[2]
    else:
        try:
            parts = urlsplit(address)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return "", ""
        if parts.scheme not in ("https", "http", "ssh", "git"):
            return "", ""
        path, host = parts.path, f"{host}:{port}" if port and parts.scheme == "https" else host
    return host.lower(), path.strip("/").removesuffix(".git")
