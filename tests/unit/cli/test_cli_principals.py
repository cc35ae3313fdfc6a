"""`smalt sp` on a real database: what it prints is what a client signs in with."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from smalt.arm.errors import ArmError
from smalt.auth.identities import Identities
from smalt.cli.main import app
from smalt.cli.root import prepare, remember
from smalt.settings import Settings
from smalt.store.database import Database
from smalt.store.tables import metadata


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    settings = Settings(tmp_path / "root", port=9443)
    prepare(settings)
    remember(settings)
    database = Database(settings.database)
    with database.write() as connection:
        metadata.create_all(connection)
    return Identities(settings, database)


def sp(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["sp", *arguments, "--root", str(tmp_path / "root")])


def document(said: Result) -> dict[str, str]:
    assert said.exit_code == 0, said.output
    return json.loads(said.stdout)


def test_what_create_prints_is_evaluated_by_a_shell_and_signs_in(tmp_path: Path, identities: Identities) -> None:
    said = sp(tmp_path, "create", "ci")
    assert said.exit_code == 0, said.output
    script = said.stdout + "printf '%s ' $AZURE_CLIENT_ID $AZURE_CLIENT_SECRET $AZURE_TENANT_ID $AZURE_AUTHORITY_HOST"
    read = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert identities.sign_in(read[0], read[1]).name == "ci"
    assert read[2:] == ["00000000-0000-0000-0000-00000000000a", "https://localhost:9443/adfs"]


def test_rotate_ends_the_old_secret_and_delete_ends_both(tmp_path: Path, identities: Identities) -> None:
    first = document(sp(tmp_path, "create", "ci", "--json"))
    second = document(sp(tmp_path, "rotate", "ci", "--json"))
    assert second["AZURE_CLIENT_ID"] == first["AZURE_CLIENT_ID"]
    with pytest.raises(ArmError):
        identities.sign_in(first["AZURE_CLIENT_ID"], first["AZURE_CLIENT_SECRET"])
    assert identities.sign_in(second["AZURE_CLIENT_ID"], second["AZURE_CLIENT_SECRET"]).name == "ci"
    listed = json.loads(sp(tmp_path, "list", "--json").stdout)
    assert [(one["name"], one["clientId"]) for one in listed] == [("ci", first["AZURE_CLIENT_ID"])]
    assert first["AZURE_CLIENT_ID"] in sp(tmp_path, "list").stdout
    assert "secret" not in json.dumps(listed).lower()
    assert document(sp(tmp_path, "delete", first["AZURE_CLIENT_ID"], "--json"))["name"] == "ci"
    assert identities.list() == []
    assert "No service principals yet" in sp(tmp_path, "list").stdout


def test_mistakes_are_one_line(tmp_path: Path, identities: Identities) -> None:
    assert sp(tmp_path, "create", "ci").exit_code == 0
    for arguments, word in (
        (["create", "ci"], "exists already"),
        (["delete", "nobody"], "not found"),
        (["rotate", "x"], "x"),
    ):
        said = sp(tmp_path, *arguments)
        assert said.exit_code == 1
        assert word in said.stderr
        assert said.stderr.count("\n") == 1
    assert len(identities.list()) == 1


def test_a_root_without_a_platform_is_told(tmp_path: Path) -> None:
    said = sp(tmp_path, "list")
    assert said.exit_code == 1
    assert "there is no platform" in said.stderr
    assert not (tmp_path / "root").exists()
    settings = Settings(tmp_path / "root")
    prepare(settings)
    remember(settings)
    said = sp(tmp_path, "list")
    assert said.exit_code == 1
    assert said.stderr.count("\n") == 1
    assert "has the platform ever run" in said.stderr
