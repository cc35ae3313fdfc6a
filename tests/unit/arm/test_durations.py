"""Durations as clients write them."""

from __future__ import annotations

import pytest

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT5S", 5), ("PT2M30S", 150), ("P1DT1H", 90_000), ("PT0.5S", 0.5), ("", 7), (None, 7)]
)
def test_seconds(text: str | None, seconds: float) -> None:
    assert seconds_of(text, 7) == seconds


@pytest.mark.parametrize(
    "text",
    ["5 minutes", "P", "PT", "PT5", "-PT5S", "PT5S ", "PT.S", "PT1.2.3S", "PT.5S", "P1DT", "PT²S", f"PT{'9' * 400}S"],
)
def test_what_is_no_duration_names_its_field(text: str) -> None:
    with pytest.raises(ArmError, match=r"limits\.timeout"):
        seconds_of(text, 0, "limits.timeout")
