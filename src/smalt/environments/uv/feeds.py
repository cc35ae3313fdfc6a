"""Credentials of package indexes: which of an environment's index addresses a feed opens, and how uv is told.

A plan names address and connection alone. The credentials come to the build in a variable, and go to uv in the address,
on its standard input: never on a command line, and into no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import SplitResult, quote, unquote, urlsplit

from smalt.arm.ports import Feed, Login

LOGINS = "SMALT_INDEX_LOGINS"  # of the build's process: JSON, {address: [username, password]}
_OPTIONS = ("--index-url ", "--extra-index-url ", "--find-links ")


def matched(options: Iterable[str], feeds: Sequence[Feed]) -> dict[str, str]:
    """Address → connection, for those of `options` that one of `feeds` opens; the longest target wins."""
    found: dict[str, str] = {}
    for option in options:
        address = _address(option)
        fitting = [one for one in feeds if address and _is_below(address, one.target)]
        if fitting and not urlsplit(address).password:  # what was written out stays
            found[address] = max(fitting, key=lambda one: len(one.target)).connection
    return found


def with_logins(options: Sequence[str], logins: Mapping[str, Login]) -> list[str]:
    """`options` with the credentials in their addresses."""
    return [_with_login(one, logins) for one in options]


def _with_login(option: str, logins: Mapping[str, Login]) -> str:
    address = _address(option)
    login = logins.get(address)
    if login is None:
        return option
    # clients are told to write them percent-encoded; what is not, is encoded here
    user, password = (quote(unquote(one), safe="") for one in login)
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return option.removesuffix(address) + parts._replace(netloc=f"{user}:{password}@{host}").geturl()


def _address(option: str) -> str:
    return next((option.removeprefix(one) for one in _OPTIONS if option.startswith(one)), "")


def _is_below(address: str, target: str) -> bool:
    try:
        one, above = urlsplit(address), urlsplit(target)
        same = _origin(one) == _origin(above)
    except ValueError:
        return False
    folder = above.path.rstrip("/") + "/"
    return same and (one.path.rstrip("/") + "/").startswith(folder) and "/../" not in unquote(one.path) + "/"


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port
