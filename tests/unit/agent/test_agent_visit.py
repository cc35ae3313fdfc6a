"""What somebody asks of a task's door, as it is read: by the server, and by the agent, whom a bad one must not end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smalt.agent.visit import Visit


@pytest.mark.parametrize(
    "raw",
    [
        "1", "[]", "null", '{"rows": 1e999}', '{"columns": NaN}', '{"rows": "many"}', '{"argv": "ls"}', '{"argv": [1]}',
        '{"argv": ["a\\u0000"]}', '{"term": 5}', '{"port": -1}', '{"port": 65536}',
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_value_error(raw: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        Visit.read(json.loads(raw))


@pytest.mark.parametrize(("given", "rows"), [(10**30, 10_000), (-5, 0), (None, 0), (40, 40)])
def test_sizes_are_kept_within_bounds(given: Any, rows: int) -> None:
    _, visit = Visit.read({"key": "k", "rows": given})
    assert visit.rows == rows
