"""`smalt up --ray`: what is said where Ray cannot be used now."""

from __future__ import annotations

from pathlib import Path

import pytest

from live.ports import free_port
from smalt.cli import ray
from smalt.cli.ray import check_ray, ray_lacks
from smalt.cli.root import CliError
from smalt.settings import Settings


def test_nothing_is_said_where_there_is_no_ray(tmp_path: Path) -> None:
    assert ray_lacks(Settings(tmp_path)) == []


@pytest.mark.parametrize("told", ["", "gone.token"])
def test_what_is_wrong_is_one_line(tmp_path: Path, told: str) -> None:
    file = str(tmp_path / told) if told else ""
    (said,) = ray_lacks(Settings(tmp_path, ray=f"http://127.0.0.1:{free_port()}", ray_token_file=file))
    assert "\n" not in said and ("gone.token" if told else "cannot be reached") in said and "jobs" in said


def test_a_head_here_needs_ray_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "find_spec", lambda name: None)
    with pytest.raises(CliError, match=r"pip install 'smalt\[ray\]'"):
        check_ray(Settings(tmp_path, ray="local"))
    check_ray(Settings(tmp_path, ray="http://head:8265"))
    assert ray_lacks(Settings(tmp_path, ray="local")) == [], "it only starts"
