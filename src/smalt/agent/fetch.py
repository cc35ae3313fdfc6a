"""Inputs that live on the web, fetched by plain HTTP or HTTPS."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from smalt.agent.failures import SetupError

_TIMEOUT_S = 60  # of silence, not of the whole
_PLAIN = "%/:@!$&'()*+,;=~"


def fetch(url: str, folder: Path, name: str, ca_bundle: str = "") -> Path:
    """Download `url` into `folder`, under the last part of its path. Raises SetupError, which names the input."""
    # Importing an HTTP client takes longer than the rest of the agent's start, and few tasks need one.
    import http.client
    import shutil
    import ssl
    import urllib.error
    import urllib.request

    parts = _parts(url, name)
    target = folder / (unquote(parts.path).rstrip("/").rpartition("/")[2].replace("\0", "") or "data")
    if target.name in ("", ".", ".."):
        target = folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    context = ssl.create_default_context(cafile=ca_bundle or None) if parts.scheme == "https" else None
    try:
        with (
            urllib.request.urlopen(_quoted(parts), timeout=_TIMEOUT_S, context=context) as answer,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file, 1 << 20)
            expected = answer.headers.get("Content-Length")
            if expected is not None and file.tell() != int(expected):
                raise SetupError(
                    f"Input '{name}': {_shown(url)} ended after {file.tell()} of {expected} bytes; try again."
                )
    except urllib.error.HTTPError as error:
        raise SetupError(f"Input '{name}': {_shown(url)} answered {error.code} {error.reason}.") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise SetupError(f"Input '{name}': {_shown(url)} cannot be fetched: {reason}.") from error
    return target


def _parts(url: str, name: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts
    except ValueError as error:
        raise SetupError(f"Input '{name}' has an address that is none: {error}.") from error
    raise SetupError(f"Input '{name}': '{_shown(url)}' is not an http or https address.")


def _quoted(parts: SplitResult) -> str:
    """As a browser sends what people write: other alphabets and spaces as UTF-8 escapes; what is escaped stays so."""
    path, query = quote(parts.path, safe=_PLAIN), quote(parts.query, safe=_PLAIN + "?")
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _shown(url: str) -> str:
    """Without query and user: they may hold a signature or a password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
