"""The quickstart's code belongs to the user once it is copied; its package data is complete."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from smalt.cli.client_environment import PACKAGES, QUICKSTART, constraints
from smalt.cli.commands import quickstart
from smalt.cli.project_files import SHIPPED, copy_project


def test_a_second_copy_changes_nothing_and_a_changed_file_stays(tmp_path: Path) -> None:
    assert copy_project(QUICKSTART, tmp_path) == []
    assert copy_project(QUICKSTART, tmp_path) == []
    assert (tmp_path / "churn.py").read_bytes() == (QUICKSTART / "churn.py").read_bytes()
    (tmp_path / "churn.py").write_text("mine")
    assert copy_project(QUICKSTART, tmp_path) == ["churn.py"]
    assert (tmp_path / "churn.py").read_text() == "mine"


def test_an_unchanged_file_is_brought_up_to_date(tmp_path: Path) -> None:
    old = tmp_path / "old"
    for name in SHIPPED:
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text("an earlier version")
    folder = tmp_path / "mine"
    folder.mkdir()
    assert copy_project(old, folder) == []
    assert copy_project(QUICKSTART, folder) == []
    assert (folder / "src" / "train_churn.py").read_bytes() == (QUICKSTART / "src" / "train_churn.py").read_bytes()


def test_a_record_that_was_cut_short_costs_no_change_of_the_users(tmp_path: Path) -> None:
    assert copy_project(QUICKSTART, tmp_path) == []
    (tmp_path / "churn.py").write_text("mine")
    (tmp_path / ".shipped.json").write_text('{"churn.py": "0')
    assert copy_project(QUICKSTART, tmp_path) == ["churn.py"]
    assert (tmp_path / "churn.py").read_text() == "mine"


def test_the_script_is_a_users_own_and_imports_nothing_of_smalt() -> None:
    for name in SHIPPED:
        tree = ast.parse((QUICKSTART / name).read_text())
        imported = {one.module or "" for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
        imported |= {alias.name for one in ast.walk(tree) if isinstance(one, ast.Import) for alias in one.names}
        assert not any(module.split(".")[0] == "smalt" for module in imported), name


@pytest.mark.parametrize("sdk", ["1.35.2", "1.31.0"])
def test_constraints_pin_every_package_and_keep_marshmallow_below_4(sdk: str) -> None:
    lines = [line for line in constraints(sdk).read_text().splitlines() if line and not line.startswith("#")]
    pinned = {Requirement(line).name: Requirement(line) for line in lines}
    assert all(str(one.specifier).startswith("==") for one in pinned.values())
    assert {Requirement(one).name for one in PACKAGES} <= pinned.keys()
    assert str(pinned["azure-ai-ml"].specifier) == f"=={sdk}"
    assert str(pinned["marshmallow"].specifier).startswith("==3.")


def test_the_pages_it_ends_with_are_of_what_it_makes() -> None:
    code = (QUICKSTART / "churn.py").read_text()
    pages = quickstart.PAGES.values()
    assert len(pages) == 3 and all(f'"{page.rpartition("=")[2].rpartition("/")[2]}"' in code for page in pages)
