"""Inputs that live on the web, fetched by plain HTTP or HTTPS."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from smalt.agent.failures import SetupError

_TIMEOUT_S = 60  # of silence, not of the whole


def fetch(url: str, folder: Path, name: str, ca_bundle: str = "") -> Path:
    """Download `url` into `folder`, under the last part of its path. Raises SetupError, which names the input."""
    # Importing an HTTP client takes longer than the rest of the agent's start, and few tasks need one.
    import http.client
    import shutil
    import ssl
    import urllib.error
    import urllib.request

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SetupError(f"Input '{name}': '{_shown(url)}' is not an http or https address.")
    target = folder / (unquote(parts.path).rstrip("/").rpartition("/")[2].replace("\0", "") or "data")
    if target.name in ("", ".", ".."):
        target = folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    context = ssl.create_default_context(cafile=ca_bundle or None) if parts.scheme == "https" else None
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S, context=context) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
            expected = answer.headers.get("Content-Length")
            if expected is not None and file.tell() != int(expected):
                raise SetupError(
                    f"Input '{name}': {_shown(url)} ended after {file.tell()} of {expected} bytes; try again."
                )
    except urllib.error.HTTPError as error:
        raise SetupError(f"Input '{name}': {_shown(url)} answered {error.code} {error.reason}.") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise SetupError(f"Input '{name}': {_shown(url)} cannot be fetched: {reason}.") from error
    return target


def _shown(url: str) -> str:
    """Without query and user: they may hold a signature or a password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
