"""axe-core, which finds what keeps people out of a page: had from npm's registry by a lock, for tests alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from live.tools import wanting

LOCKED = Path(__file__).parents[1] / "browser/npm"
SERIOUS = ("serious", "critical")


def bring(folder: Path) -> str:
    """Its source; `folder` is empty."""
    npm = shutil.which("npm")
    if npm is None:
        wanting("npm", "install Node.js")
    for one in LOCKED.iterdir():
        shutil.copy(one, folder)
    arguments = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(arguments, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        wanting("npm's registry", done.stderr[-200:])
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def faults(page: Page, source: str, rules: Sequence[str] = ()) -> list[str]:
    """What is serious: the rule, and where it is broken; of all rules, unless some are named."""
    page.evaluate(source)
    asked = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found: Any = page.evaluate("(asked) => axe.run(document, asked)", asked)
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:120]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"][:5]
    ]
