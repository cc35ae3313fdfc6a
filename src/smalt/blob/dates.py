"""Dates as HTTP writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from smalt.blob.errors import invalid_header

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(at: float) -> str:
    """`Sun, 22 Nov 2026 01:02:03 GMT`, independent of the locale."""
    return _date_of(int(at))


@lru_cache(1024)  # a blob has two of them, in each answer
def _date_of(second: int) -> str:
    moment = datetime.fromtimestamp(second, UTC)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} {moment.year:04} "
        f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} GMT"
    )


def parse_date(name: str, text: str) -> float:
    """Seconds since the epoch of a header with an HTTP date."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        raise invalid_header(name, "not a date of the form 'Sun, 22 Nov 2026 01:02:03 GMT'") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
