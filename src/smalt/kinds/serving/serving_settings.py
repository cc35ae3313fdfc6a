"""What a deployment may say about its requests, probes and script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError
from smalt.arm.kind import Document
from smalt.arm.validation import Properties

LONGEST_S = 3600.0  # Azure has 180 s for requests; the gateway ends a stream that is silent for an hour
SHORTEST_S = 0.001  # the gateway counts in milliseconds, and takes 0 for "without end"


def _from(least_s: float) -> AfterValidator:
    def check(given: str) -> str:
        try:
            seconds = seconds_of(given, least_s)
        except (ArmError, ValueError):
            raise PydanticCustomError("duration", "this is no ISO 8601 duration such as PT2M30S") from None
        if not least_s <= seconds <= LONGEST_S:
            limits = {"least": f"{least_s:g}", "most": f"{LONGEST_S:g}"}
            raise PydanticCustomError("duration", "a duration from {least} s to {most} s is possible", limits)
        return given

    return AfterValidator(check)


Pause = Annotated[str, _from(0)]
Limit = Annotated[str, _from(SHORTEST_S)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class RequestSettings(Properties):
    request_timeout: Limit | None = None
    max_concurrent_requests_per_instance: int | None = Field(None, ge=1, le=1000)  # each is a thread
    max_queue_wait: Pause | None = None


class ProbeSettings(Properties):
    initial_delay: Pause | None = None
    period: Limit | None = None
    timeout: Limit | None = None
    failure_threshold: Count | None = None
    success_threshold: Count | None = None


def _inside(given: str) -> str:
    if "\0" in given or given.startswith("/") or ".." in given.split("/"):
        raise PydanticCustomError("path", "this must be the path of a file below the code folder")
    return given


class CodeConfiguration(Properties):
    code_id: str | None = None
    scoring_script: Annotated[str, AfterValidator(_inside)] = Field(min_length=1)


def given(values: Mapping[str, Any] | None) -> Document:
    """Those that are not null, so that defaults can stand before them."""
    return {name: value for name, value in (values or {}).items() if value is not None}
