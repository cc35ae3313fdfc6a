"""The one error of preparing: what a user or an operator has to put right before the command can run."""

from __future__ import annotations


class SetupError(Exception):
    """The task ends with outcome SETUP; the message names the input, output or part and what to do."""
