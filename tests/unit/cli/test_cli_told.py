"""Whatever option of a command is a setting, the platform is told."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from fakes.settings import OTHER
from smalt.cli import main
from smalt.settings import setting_names


@pytest.mark.parametrize("command", [main.up, main.quickstart])
def test_every_option_that_is_a_setting_is_told(command: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: dict[str, Any] = {}
    monkeypatch.setattr(main, "run", lambda name, **given: ran.update(given))
    options = inspect.signature(command, eval_str=True).parameters
    given = {name: OTHER[name] for name in options if name in setting_names()}
    several = {name for name in given if "list[" in str(options[name].annotation)}
    command(**{name: value.split(":") if name in several else value for name, value in given.items()})
    assert given and ran["told"] == given
