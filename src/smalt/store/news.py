"""Hints about what a transaction changed, for whoever waits: given out when it has committed, never before.

A `News` goes with each write transaction. On PostgreSQL a hint also leaves as NOTIFY, which is sent at the commit, so
that other servers hear of it (`store/listener.py`); it names the database object that sent it, which knows already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, text

CHANNEL = "smalt_change"
EVERYTHING = ""  # a key: something changed that is not named
_PAYLOAD_MOST = 7000  # bytes; PostgreSQL takes 8000
_OPTION = "smalt_news"
_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', :payload)")


@dataclass(frozen=True)
class Hint:
    """The resource `key` changed; `due`: the control loop has something to do."""

    key: str
    due: bool


@dataclass
class News:
    """What one transaction has changed so far; `sender` names the database object."""

    sender: str
    hints: dict[str, bool] = field(default_factory=dict[str, bool])


def gathering(connection: Connection, news: News, **options: object) -> Connection:
    """The connection, with these options, whose changes are noted in `news`."""
    return connection.execution_options(**{_OPTION: news, **options})


def told(connection: Connection, key: str, due: bool) -> str | None:
    """Note a hint. On PostgreSQL: what the caller has to send as NOTIFY."""
    news: News | None = connection.get_execution_options().get(_OPTION)
    if news is not None:
        news.hints[key] = due or news.hints.get(key, False)
    if connection.dialect.name != "postgresql":
        return None
    payload = f"{news.sender if news else '-'} {'+' if due else '-'}{key}"
    return payload if len(payload.encode()) <= _PAYLOAD_MOST else payload[: payload.index("/")]


def tell(connection: Connection, key: str, due: bool = False) -> None:
    """Wake who waits for `key`, where nothing is recorded of it."""
    payload = told(connection, key, due)
    if payload is not None:
        connection.execute(_NOTIFY, {"payload": payload})


def parsed(payload: str) -> tuple[str, Hint]:
    """The sender of a NOTIFY, and its hint. One that we do not understand means everything."""
    sender, _, hint = payload.partition(" ")
    if hint[:1] not in ("+", "-"):
        return "", Hint(EVERYTHING, True)
    return sender, Hint(hint[1:], hint[0] == "+")
