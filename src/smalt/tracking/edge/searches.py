"""Searches, with which one client could keep MLflow from all others: how large one may be, and how many run at once.

A clause of a filter, and a column of an order, is a join in MLflow's query: SQLite takes 64, and
hundreds cost seconds and gigabytes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from smalt.arm.errors import ArmError, invalid

TEXT_MOST = 4096  # bytes of all filters and orders of one search
CLAUSES_MOST = 50  # of all its filters and orders
QUERY_MOST = 16_384  # bytes of a GraphQL document
BODY_MOST = 1 << 20
RUNNING_MOST = 6  # of all principals: fewer than MLflow has threads (`mlflow_process`), so that jobs can always log
RUNNING_OF_ONE = 4
WAITING_OF_ONE = 12
PATIENCE_S = 20.0

_SEARCHES = re.compile(
    r".*/(search(-[a-z-]+)?|calculate[a-z-]*|query[a-z-]*|unified-traces|traces/metrics)", re.IGNORECASE | re.DOTALL
)
_LISTED_TRACES = re.compile(r".*/traces", re.DOTALL)  # GET: the second version's search
_LIMITED = re.compile(r"_*(filter|order_*by)", re.IGNORECASE)  # in protobuf's JSON filter_string is filterString, too
_AND = re.compile(r"(?<![a-z_])and(?![a-z_])", re.IGNORECASE)
_ESCAPED = re.compile(r"\\u(?:\{0*([0-9a-f]{1,6})\}|([0-9a-f]{4}))", re.IGNORECASE)


def check_search(method: str, rest: str, query: str, body: bytes) -> bool:
    """Whether the request is a search (its turn has to be waited for).

    Raises ArmError(400, 413) for one that is too large.
    """
    if query:
        _check([text for name, text in parse_qsl(query, keep_blank_values=True) if _LIMITED.match(name)])
    graphql = rest == "/graphql"
    if not graphql and not _SEARCHES.fullmatch(rest):
        return method == "GET" and _LISTED_TRACES.fullmatch(rest) is not None
    if not body:  # MLflow reads one with a GET, too
        return not graphql
    if len(body) > BODY_MOST:
        raise ArmError(413, "RequestTooLarge", f"A search holds at most {BODY_MOST >> 20} MiB; ask for less at once.")
    content = _read(body)
    _check(list(_limited(content)))
    return _is_graphql_search(content) if graphql else True


def _read(body: bytes) -> Any:
    """As MLflow reads it, JSON inside a JSON string included; None for what MLflow refuses itself."""
    try:
        content = json.loads(body)
        return json.loads(content) if isinstance(content, str) else content
    except (ValueError, RecursionError):
        return None


def _limited(content: Any) -> Iterator[str]:
    """Each text below a name that means a filter or an order."""
    pending: list[tuple[Any, bool]] = [(content, False)]
    while pending:
        value, limited = pending.pop()
        if isinstance(value, dict):
            pending += [(one, limited or _LIMITED.match(name) is not None) for name, one in value.items()]
        elif isinstance(value, list):
            pending += [(one, limited) for one in value]
        elif limited and isinstance(value, str):
            yield value


def _check(texts: list[str]) -> None:
    if sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) > TEXT_MOST:
        raise invalid(
            f"filter and order_by of one search hold at most {TEXT_MOST} bytes; ask for less at once.", "filter"
        )
    _check_clauses(sum(_clauses(text) for text in texts))


def _is_graphql_search(content: Any) -> bool:
    """Whether the document asks for a search, be it small enough. Raises ArmError(400)."""
    document = content.get("query") if isinstance(content, dict) else None
    if not isinstance(document, str):
        return False
    if len(document) > QUERY_MOST:
        raise invalid(f"A GraphQL query holds at most {QUERY_MOST} characters.", "query")
    _check_clauses(_clauses(_ESCAPED.sub(lambda found: chr(min(int(found[1] or found[2], 16), 0x10FFFF)), document)))
    return "search" in document.lower()


def _check_clauses(number: int) -> None:
    if number > CLAUSES_MOST:
        raise invalid(
            f"A search has at most {CLAUSES_MOST} clauses, in filter and order_by together (given: {number});"
            " search for less, and filter what comes back.",
            "filter",
        )


def _clauses(text: str) -> int:
    return len(_AND.findall(text)) + 1 if text.strip() else 0


class Turns:
    """Whose search runs when.

    So many at once, of one principal and of all; a few more wait, the others are told to come again.
    """

    def __init__(
        self,
        running: int = RUNNING_MOST,
        of_one: int = RUNNING_OF_ONE,
        waiting: int = WAITING_OF_ONE,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._all = asyncio.Semaphore(running)
        self._own: dict[str, asyncio.Semaphore] = {}
        self._here: Counter[str] = Counter()
        self._of_one, self._waiting, self._patience_s = of_one, waiting, patience_s

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncGenerator[None]:
        """Inside, the search may run. Raises ArmError(429) where too many of `who` wait already, or too long."""
        if self._here[who] >= self._of_one + self._waiting:
            raise self._too_many()
        self._here[who] += 1
        own = self._own.setdefault(who, asyncio.Semaphore(self._of_one))
        waiting = asyncio.timeout(self._patience_s)
        try:
            async with waiting, own, self._all:
                waiting.reschedule(None)
                yield
        except TimeoutError:
            if waiting.expired():
                raise self._too_many() from None
            raise
        finally:
            self._here[who] -= 1
            if not self._here[who]:
                del self._here[who], self._own[who]

    def _too_many(self) -> ArmError:
        message = (
            f"More than {self._of_one} searches of yours run already, and others wait."
            " Wait for an answer before the next."
        )
        return ArmError(429, "TooManyRequests", message, headers={"Retry-After": "1"})
