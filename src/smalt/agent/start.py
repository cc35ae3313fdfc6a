"""How Smalt's own interpreter is started for one module of the agent."""

from __future__ import annotations

import sys
from pathlib import Path

# Isolated and without `site` an interpreter starts in a third of the time. The path goes last, so that nothing beside
# this package can hide a module of the standard library.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from smalt.agent.{module} import main; main()"
_PACKAGES = Path(__file__).parents[2]


def python(module: str) -> list[str]:
    """The command that runs `main` of a module of the agent."""
    return [sys.executable, "-I", "-S", "-c", _START.format(module=module), str(_PACKAGES)]
