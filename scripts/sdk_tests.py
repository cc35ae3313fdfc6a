"""End-to-end tests of azure-ai-ml itself, as they stand in its repository, run live against a platform of their own.

    scripts/sdk_tests --sdk CHECKOUT [--root ROOT] [FILE…] [-- OPTIONS OF PYTEST]

CHECKOUT is one of Azure/azure-sdk-for-python (its folder sdk/ml/azure-ai-ml, `tests` alone, is enough). Without files: those of computes, with the
instance that is created, stopped, started and deleted. Tests that the repository skips for want of capacity at Azure are run, too. What its fixtures
get of Azure (a workspace, names, recordings) comes from here; the tests and their YAML are as they are. `--root`: a platform that runs already.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live.platform import Platform
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION

FILES = ["tests/compute/e2etests/test_compute.py"]
WORKSPACE, LOCATION = "sdk-tests", "eastus"  # where their YAML expects to be


def recording_tools() -> ModuleType:
    """In place of the repository's `devtools_testutils`: nothing is recorded or played back."""
    made = ModuleType("devtools_testutils")
    made.AzureRecordedTestCase = object  # type: ignore[attr-defined]
    made.is_live = lambda: True  # type: ignore[attr-defined]
    return made


# This module is a plugin of pytest: what follows is what the repository's conftest gives its tests of computes.


@pytest.fixture(scope="session")
def client() -> Any:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Workspace
    from azure.identity import DefaultAzureCredential

    found = MLClient(DefaultAzureCredential(), SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)
    found.workspaces.begin_create(Workspace(name=WORKSPACE, location=LOCATION)).result()
    return found


@pytest.fixture
def rand_compute_name() -> Callable[[str], str]:
    return lambda _: f"test{secrets.randbelow(10**12)}"


@pytest.fixture
def recorded_test() -> None:
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.own_markers = [one for one in item.own_markers if one.name != "skip"]


@contextlib.contextmanager
def platform(root: Path | None) -> Iterator[Platform]:
    if root is not None:
        yield Platform(root)
        return
    with tempfile.TemporaryDirectory(prefix="sdk-tests-") as folder, Platform(Path(folder)).started() as made:
        yield made


def main() -> int:
    own, passed = _split(sys.argv[1:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sdk", type=Path, required=True, help="a checkout of Azure/azure-sdk-for-python")
    parser.add_argument("--root", type=Path, help="of a platform that runs; without it one is started, and ended")
    parser.add_argument("files", nargs="*", default=FILES, help="below sdk/ml/azure-ai-ml")
    asked = parser.parse_args(own)
    package = asked.sdk.resolve() / "sdk" / "ml" / "azure-ai-ml"
    if missing := [one for one in asked.files if not (package / one).exists()]:
        parser.error(f"{package} has no {', '.join(missing)}")
    sys.modules["devtools_testutils"] = recording_tools()
    with platform(asked.root and asked.root.resolve()) as made:
        os.environ.update(made.variables)
        os.chdir(package)  # their paths are relative to it
        settings = [
            "--noconftest",
            "--import-mode=importlib",
            "-c",
            os.devnull,
            "-p",
            "no:cacheprovider",
            "-v",
            "-rs",
            "--disable-warnings",
        ]
        return int(pytest.main([*settings, "--durations=0", *asked.files, *passed], plugins=[sys.modules[__name__]]))


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


if __name__ == "__main__":
    raise SystemExit(main())
