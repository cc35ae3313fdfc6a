"""Options that many commands have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .errors import UsageError
from .table import Argument


def option(*options: str, help: str, required: bool = False, **settings: Any) -> Argument:
    return Argument(options, help, required, settings=settings)


def flag(*options: str, help: str) -> Argument:
    return Argument(options, help, settings={"action": "store_true"})


RESOURCE_GROUP = Argument(
    ("--resource-group", "-g"),
    "Name of the resource group. A default is set with `az configure --defaults group=<name>`.",
    required=True,
    configured="group",
)
WORKSPACE = Argument(
    ("--workspace-name", "-w"),
    "Name of the workspace. A default is set with `az configure --defaults workspace=<name>`.",
    required=True,
    configured="workspace",
)
IN_WORKSPACE = (RESOURCE_GROUP, WORKSPACE)
NAME = option("--name", "-n", help="Its name.", required=True)
NEW_NAME = option("--name", "-n", help="Its name, in place of the one in the file.")
VERSION = option("--version", "-v", help="Its version.")
LABEL = option("--label", "-l", help="Its label, in place of a version: latest.")
REGISTRY = option("--registry-name", help="A registry in place of the workspace.")
IN_HOME = (REGISTRY, *(replace(one, required=False) for one in IN_WORKSPACE))  # of assets
FILE = option("--file", "-f", help="The YAML file that describes it.", required=True)
MAYBE_FILE = option("--file", "-f", help="The YAML file that describes it.")
SET = option("--set", help="Set a value in the document: property.path=value. May be given often.", nargs="+",
             action="append", metavar="KEY=VALUE")  # fmt: skip
NO_WAIT = flag("--no-wait", help="Do not wait for the long-running operation to finish.")
WEB = flag("--web", "-e", help="Open it in the web browser.")
MAX_RESULTS = option("--max-results", "-r", help="The most results to show.", type=int)
ARCHIVED_ONLY = flag("--archived-only", help="Only those that are archived.")
INCLUDE_ARCHIVED = flag("--include-archived", help="Those that are archived, too.")
DESCRIPTION = option("--description", help="Its description.")
TAGS = option("--tags", help="Space-separated: key=value.", nargs="+", metavar="KEY=VALUE")


def pairs(given: list[str] | None, what: str) -> dict[str, str]:
    """`key=value` one by one, or many in one word, as `--traffic "blue=90 green=10"`. Raises UsageError."""
    found: dict[str, str] = {}
    for one in [word for text in given or () for word in (text.split() if what == "--traffic" else [text])]:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise UsageError(f"argument {what}: '{one}' is not key=value")
        found[key] = value
    return found


def assignments(given: list[list[str]] | None) -> dict[str, str]:
    """What `--set` says, given once or often."""
    return pairs([one for some in given or () for one in some], "--set")
