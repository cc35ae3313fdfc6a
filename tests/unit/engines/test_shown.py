"""What of the machine can be shown to jobs: nothing that holds the platform's keys, and nothing that breaks their walls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from smalt.cli.commands.up import ensure_running
from smalt.cli.root import CliError
from smalt.engines.local.shown import refusal, showable
from smalt.settings import Settings


def test_what_is_there_can_be_shown(tmp_path: Path) -> None:
    for name in ("data", "more"):
        (tmp_path / name).mkdir()
    settings = Settings(tmp_path / "root", show=f"{tmp_path}/data:{tmp_path}/more/")
    assert refusal(settings) == "" and showable(settings) == [f"{tmp_path}/data", f"{tmp_path}/more"]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("{tmp}/gone", "nothing is there"),
        ("{tmp}", "keys of the platform"),
        ("{tmp}/root", "keys of the platform"),
        ("{tmp}/root/secrets", "keys of the platform"),
        ("{tmp}/data/../root", "keys of the platform"),
        ("{tmp}/link", "keys of the platform"),
        ("/", "of their own"),
        ("/etc", "of their own"),
        ("/etc/passwd", "of their own"),
        ("/proc/sys", "of their own"),
        ("/dev", "of their own"),
    ],
)
def test_what_cannot_be_shown_is_named(tmp_path: Path, path: str, word: str) -> None:
    (tmp_path / "root" / "secrets").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("root")
    settings = Settings(tmp_path / "root", show=path.replace("{tmp}", str(tmp_path)))
    assert word in refusal(settings) and showable(settings) == []


def test_neither_blobs_nor_rows_that_lie_elsewhere_are_shown(tmp_path: Path) -> None:
    for name in ("data/blobs", "rows"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "rows" / "smalt.db").touch()
    elsewhere = Settings(
        tmp_path / "root", store_url=f"{tmp_path}/data/blobs", database_url=f"sqlite:///{tmp_path}/rows/smalt.db"
    )
    for path, word in (("data", "blobs"), ("data/blobs", "blobs"), ("rows", "rows")):
        settings = replace(elsewhere, show=f"{tmp_path}/{path}")
        assert f"the {word} of the platform" in refusal(settings) and showable(settings) == []


def test_up_refuses_it_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="nothing is there"):
        ensure_running(tmp_path / "root", {"show": str(tmp_path / "gone")})
    assert not (tmp_path / "root").exists()
