"""What a check found: a state, a short fact and, where it is not as it could be, what that means and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """`WARN`: it works, not well. `NO`: the machine cannot do it. `NONE`: not there, and nothing depends on it."""

    OK = "ok"
    WARN = "warn"
    NO = "no"
    NONE = "-"


@dataclass(frozen=True)
class Finding:
    """`means` says what follows for Smalt, `remedy` the command that helps; both are empty where all is well."""

    state: State
    fact: str
    means: str = ""
    remedy: str = ""


class NotTried(Exception):
    """A check has nothing to try its thing on; says what is missing."""


def ok(fact: str) -> Finding:
    return Finding(State.OK, fact)


def warn(fact: str, means: str, remedy: str) -> Finding:
    return Finding(State.WARN, fact, means, remedy)


def no(fact: str, means: str, remedy: str) -> Finding:
    return Finding(State.NO, fact, means, remedy)


def none(fact: str, means: str, remedy: str = "") -> Finding:
    return Finding(State.NONE, fact, means, remedy)
