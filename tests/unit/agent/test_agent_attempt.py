"""What is said of a command that ended, and of variables that cannot be set."""

from __future__ import annotations

from typing import Any

import pytest

from smalt.agent.environ import check_variables
from smalt.agent.verdict import explain_exit
from smalt.agent.wire import Ref, TaskSpec

TASK = TaskSpec(name="t", owner="o", command="python train.py", log=Ref("a", "c", "x/std_log.txt"))


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (3, "exited with status code 3"),
        (-9, "was ended by signal 9 (SIGKILL)"),
        (-34, "was ended by signal 34 (SIGRTMIN)"),
        (-35, "was ended by signal 35 (SIGRTMIN+1)"),
    ],
)
def test_how_a_command_ended(code: int, how: str) -> None:
    said = explain_exit(TASK, code, "no such file")
    assert f"User process 'python' {how}. " in said
    assert "user_logs/std_log.txt" in said
    assert said.endswith("Error: no such file")


def test_success_needs_no_words() -> None:
    assert explain_exit(TASK, 0, "") == ""


@pytest.mark.parametrize("value", [1, None, True, ["x"], "a\0b"])
def test_a_variable_that_is_no_text_is_named(value: Any) -> None:
    assert "'N'" in check_variables({"FINE": "x", "N": value})


def test_variables_of_text_are_fine() -> None:
    assert check_variables({"A": "", "B": "ä=b"}) == ""
