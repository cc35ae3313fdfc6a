"""What the summary of a run says of its layers, and what a tool does that is not there."""

from __future__ import annotations

import pytest

from live.budgets import BUDGETS_S, Spent
from live.tools import wanting


def test_what_a_layer_took_is_added_up() -> None:
    spent = Spent()
    spent.add("tests/unit/arm/test_ids.py::test_a", BUDGETS_S["unit"] - 1)
    spent.add("tests/e2e/test_e2e_client.py::test_b[x/y]", 2.4)
    spent.add("elsewhere/test_c.py::test_c", 1e9)
    assert [line.split()[0] for line in spent.lines()] == ["unit", "e2e"] and not spent.over()
    spent.add("tests/unit/arm/test_ids.py::test_a", 2)
    assert spent.over() == ["unit"]


def test_a_tool_that_is_missing_fails_in_ci_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMALT_CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="npm is not here: install it"):
        wanting("npm", "install it")
    monkeypatch.setenv("SMALT_CI", "1")
    with pytest.raises(pytest.fail.Exception, match="npm"):
        wanting("npm", "install it")
