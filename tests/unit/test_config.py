"""`config.json`: every setting survives it, and what it should not hold is one line that says what and where."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.settings import OTHER
from smalt.cli.daemon import Order
from smalt.cli.main import app
from smalt.cli.root import remember
from smalt.config import read_settings
from smalt.settings import Settings, SettingsError, check_setting, setting_names
from smalt.tracking.process.mlflow_server import command, settings_of

COMMANDS = [
    ["up", "--detach"], ["up"], ["down"], ["down", "--jobs", "cancel"], ["status"], ["status", "--json"], ["env"],
    ["quickstart"], ["sp", "list"], ["sp", "create", "x"], ["sp", "delete", "x"], ["sp", "rotate", "x"],
]  # fmt: skip
BAD = {
    "": "it is not JSON",
    "{": "it is not JSON",
    "[" * 100_000: "it is not JSON",
    "\x00\xff": "it is not JSON",
    "[]": "it is not a JSON object",
    "null": "it is not a JSON object",
    "{}": 'it lacks "layout": 1',
    '{"layout": "1"}': "layout must be 1",
    '{"layout": true}': "layout must be 1",
    '{"layout": 0}': "layout must be 1",
    '{"layout": 99, "new": 1}': "newer Smalt (layout 99, this one knows 1)",
    '{"layout": 1, "prot": 7443}': "there is no setting 'prot' (did you mean 'port'?)",
    '{"layout": 1, "colour": 7443}': f"there is no setting 'colour' (known are {', '.join(setting_names())})",
    '{"layout": 1, "root": "/"}': "there is no setting 'root'",
    '{"layout": 1, "port": "7443"}': "port must be a whole number from 1 to 65535, not '7443'",
    '{"layout": 1, "port": 0}': "port must be a whole number from 1 to 65535, not 0",
    '{"layout": 1, "port": 65536}': "port must be",
    '{"layout": 1, "port": true}': "port must be",
    '{"layout": 1, "port": 7443.5}': "port must be",
    '{"layout": 1, "port": null}': "port must be",
    '{"layout": 1, "host": ""}': "host must be a host name",
    '{"layout": 1, "host": ["localhost"]}': "host must be a host name",
    '{"layout": 1, "host": "a b\\nc"}': "host must be a host name",
    '{"layout": 1, "database_url": "mysql://u:secret@db/x"}': "database_url must be empty, or a URL that begins with",
    '{"layout": 1, "database_url": {}}': "database_url must be",
}


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_is_remembered_and_handed_to_every_process(tmp_path: Path, name: str) -> None:
    settings = replace(Settings(tmp_path), **{name: OTHER[name]})
    assert settings != Settings(tmp_path)
    remember(settings)
    assert read_settings(tmp_path) == settings
    assert Order.read(Order(settings, [], "1").write()).settings == settings
    assert settings_of(command(settings)[3:]) == settings


def test_a_missing_root_has_the_defaults_and_they_are_good(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "none") == Settings(tmp_path / "none", "localhost", 7443)
    for one in fields(Settings):
        if one.name != "root":
            check_setting(one.name, one.default)


@pytest.mark.parametrize(("content", "said"), BAD.items())
def test_what_cannot_be_used_is_one_line_that_names_file_and_cause(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(SettingsError) as caught:
        read_settings(tmp_path)
    message = str(caught.value)
    assert said in message
    assert str(tmp_path) in message
    assert "\n" not in message
    assert "secret" not in message


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_command_says_it_in_one_line_and_changes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "config.json"
    for content in ("{", '{"layout": 1, "port": "7443"}', '{"layout": 1, "prot": 1}', '{"layout": 2}'):
        path.write_text(content)
        said = CliRunner().invoke(app, [*arguments, "--root", str(tmp_path)])
        assert said.exit_code == 1
        assert said.stderr.startswith("smalt: ")
        assert said.stderr.count("\n") == 1
        assert [one.name for one in tmp_path.iterdir()] == ["config.json"]
        assert path.read_text() == content


def test_a_folder_in_its_place_is_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(SettingsError, match=r"config.json cannot be read \(Is a directory\)"):
        read_settings(tmp_path)


@pytest.mark.parametrize("module", ["smalt.start", "smalt.tracking.process.mlflow_server"])
def test_the_platforms_own_processes_say_it_in_one_line(tmp_path: Path, module: str) -> None:
    (tmp_path / "config.json").write_text("{")
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, "--root", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("smalt: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("postgresql://ada:s3cret@db:5432/smalt", "postgresql://ada@db:5432/smalt"),
        ("postgresql+psycopg://ada@db/smalt?password=s3cret", "postgresql://ada@db/smalt"),
        ("postgresql://ada:s/3?c@r@et@db/smalt?sslmode=require", "postgresql://ada@db/smalt"),
        ("postgresql:///smalt?host=/run/postgresql", "postgresql:///smalt"),
        ("", "sqlite:////root/smalt.db"),
    ],
)
def test_a_database_is_shown_without_its_password(told: str, shown: str) -> None:
    assert Settings(Path("/root"), database_url=told).shown_database == shown
