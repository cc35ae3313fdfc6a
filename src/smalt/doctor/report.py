"""What was found, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from smalt.doctor.examine import Examined
from smalt.doctor.finding import State

_STYLES = {State.OK: "green", State.WARN: "yellow", State.NO: "red", State.NONE: "dim"}


def as_json(all_: Sequence[Examined]) -> str:
    """A list of {check, state, fact, means, remedy}."""
    return json.dumps([{"check": one.check.id, **asdict(one.finding)} for one in all_], indent=2)


def show(all_: Sequence[Examined], console: Console) -> None:
    """A section for each topic, a line for each check; below it, unless all is well, what it means and what helps."""
    wide = max((len(one.check.title) for one in all_), default=0)
    section = ""
    for one in all_:
        if one.check.section != section:
            console.print(("\n" if section else "") + one.check.section, style="bold")
            section = one.check.section
        state, indent = one.finding.state, " " * (wide + 10)
        console.print(Text(f"  {state:<4}", _STYLES[state]) + Text(f"  {one.check.title:<{wide}}  {one.finding.fact}"))
        if state is State.OK:
            continue
        if one.finding.means:
            console.print(Text(indent + one.finding.means, "dim"))
        if one.finding.remedy:
            console.print(Text(f"{indent}→ {one.finding.remedy}"))
    console.print()
    console.print(Text(verdict(all_)))


def verdict(all_: Sequence[Examined]) -> str:
    """One line: whether Smalt runs here."""
    if fatal := [one.check.title for one in all_ if one.fatal]:
        return f"Smalt cannot run here: {', '.join(fatal)}."
    lacking = sum(one.finding.state in (State.WARN, State.NO) for one in all_)
    return "Smalt runs here" + (f"; {lacking} of {len(all_)} could be better." if lacking else ".")
