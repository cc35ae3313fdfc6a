"""What a command is: one definition, from which `az ml` and `smalt ml` are both made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Argument:
    """One option. `settings` are argparse's (nargs, type, choices, action, default, metavar)."""

    options: tuple[str, ...]
    help: str
    required: bool = False
    configured: str = ""  # the key of a default in the section `defaults` of the CLI's configuration
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def dest(self) -> str:
        """The parameter's name: of the first long option."""
        long = next(one for one in self.options if one.startswith("--"))
        return long.removeprefix("--").replace("-", "_")


@dataclass(frozen=True)
class Command:
    """`group verb`. `run(connection, **arguments)` gives what is printed as JSON, or None."""

    group: str
    verb: str
    help: str
    run: Callable[..., Any]
    arguments: tuple[Argument, ...] = ()
    confirm: str = ""  # the question before it does anything; --yes answers it
    columns: str = ""  # JMESPath: what `-o table` shows of each object

    @property
    def name(self) -> str:
        return f"{self.group} {self.verb}"


@dataclass(frozen=True)
class Group:
    """The commands of one kind of resource, in the order of their help."""

    name: str
    help: str
    commands: tuple[Command, ...]
