"""`smalt up` answers at once: the command line and the supervisor import neither database nor web framework."""

from __future__ import annotations

import subprocess
import sys

import pytest

QUICK = {"typer", "rich", "cryptography", "joserfc", "azure", "yaml", "requests"}
HEAVY = {"sqlalchemy", "starlette", "uvicorn", "httpx", "pydantic", "mlflow"}


@pytest.mark.parametrize("module", ["smalt.cli.commands.up", "smalt.cli.commands.down", "smalt.cli.daemon"])
def test_the_command_line_imports_nothing_heavy(module: str) -> None:
    loaded = f"import sys, {module}; print(*(one for one in sys.modules if '.' not in one))"
    told = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not HEAVY & set(told.stdout.split())


def test_smalt_ml_imports_little() -> None:
    """A command that reads takes half a second, whose larger part would be imports."""
    loaded = "import sys, smalt.cli.commands.ml; print(*(one for one in sys.modules if '.' not in one))"
    told = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not (HEAVY | QUICK) & set(told.stdout.split())
