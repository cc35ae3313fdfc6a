"""`smalt sp` on a real database: what it prints is what a client signs in with."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
from msal.oauth2cli.assertion import JwtAssertionCreator
from typer.testing import CliRunner, Result

from smalt.arm.errors import ArmError
from smalt.auth.client_certificates import ClientCertificate, new_certificate
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


def test_a_certificate_and_its_key_are_made_for_their_owner_alone(tmp_path: Path, identities: Identities) -> None:
    path = tmp_path / "ci.pem"
    made = document(sp(tmp_path, "create", "ci", "--create-cert", str(path), "--json"))
    assert made["AZURE_CLIENT_CERTIFICATE_PATH"] == str(path) and "AZURE_CLIENT_SECRET" not in made
    assert path.stat().st_mode & 0o777 == 0o600
    certificate = ClientCertificate.parse(path.read_bytes())
    assert made["thumbprint"] == certificate.thumbprint
    assert certificate.ends_at == datetime.fromisoformat(made["expires"]).timestamp()
    assert signed_in(identities, made["AZURE_CLIENT_ID"], path) == "ci"
    said = sp(tmp_path, "create", "other", "--create-cert", str(path))  # it may be the only copy of a key
    assert said.exit_code == 1 and "there already" in said.stderr
    assert signed_in(identities, made["AZURE_CLIENT_ID"], path) == "ci"
    assert [one.name for one in identities.list()] == ["ci"]


def test_a_certificate_of_the_users_own_and_its_rotation(tmp_path: Path, identities: Identities) -> None:
    whole, public, later = (tmp_path / f"{name}.pem" for name in ("whole", "public", "later"))
    certificate, content = new_certificate("mine", 86_400, time.time())
    whole.write_bytes(content)
    public.write_text(certificate.pem)
    made = document(sp(tmp_path, "create", "ci", "--cert", str(public), "--json"))
    assert "AZURE_CLIENT_CERTIFICATE_PATH" not in made  # the key is not in that file
    assert signed_in(identities, made["AZURE_CLIENT_ID"], whole) == "ci"
    said = sp(tmp_path, "rotate", "ci", "--create-cert", str(later))
    assert said.exit_code == 0 and f"export AZURE_CLIENT_CERTIFICATE_PATH={later}" in said.stdout
    assert signed_in(identities, made["AZURE_CLIENT_ID"], later) == "ci"
    with pytest.raises(ArmError, match="AADSTS700027"):
        signed_in(identities, made["AZURE_CLIENT_ID"], whole)
    assert f"export AZURE_CLIENT_CERTIFICATE_PATH={whole}" in sp(tmp_path, "rotate", "ci", "--cert", str(whole)).stdout
    assert signed_in(identities, made["AZURE_CLIENT_ID"], whole) == "ci"


def test_nothing_is_left_of_a_certificate_that_could_not_be_used(tmp_path: Path, identities: Identities) -> None:
    assert sp(tmp_path, "create", "ci").exit_code == 0
    new, bad, past = (tmp_path / f"{name}.pem" for name in ("new", "bad", "past"))
    bad.write_text("no certificate")
    past.write_text(new_certificate("x", 10, time.time() - 60)[0].pem)
    jwks = ["--issuer", "https://i", "--subject", "s", "--jwks", str(bad)]
    for arguments, word in (
        (["create", "ci", "--create-cert", str(new)], "exists already"),
        (["rotate", "nobody", "--create-cert", str(new)], "not found"),
        (["create", "x", "--create-cert", str(tmp_path / "no" / "folder.pem")], "cannot be written"),
        (["create", "x", "--cert", str(tmp_path / "nothing.pem")], "cannot be read"),
        (["create", "x", "--cert", str(bad)], "PEM"),
        (["create", "x", "--cert", str(past)], "expired at"),
        (["create", "x", "--cert", str(past), "--create-cert", str(new)], "either"),
        (["create", "x", "--create-cert", str(new), *jwks], "either"),
    ):
        said = sp(tmp_path, *arguments)
        assert said.exit_code == 1 and word in said.stderr and said.stderr.count("\n") == 1, arguments
        assert not new.exists(), arguments
    assert [one.name for one in identities.list()] == ["ci"]


def signed_in(identities: Identities, client_id: str, path: Path) -> str:
    """The name behind an assertion that is made with the file as a client makes it."""
    audience = "https://localhost:9443/adfs/oauth2/v2.0/token"
    thumbprint = ClientCertificate.parse(path.read_bytes()).thumbprint
    creator = JwtAssertionCreator(path.read_text(), "RS256", sha1_thumbprint=thumbprint)
    made = creator.create_normal_assertion(audience, client_id)
    return identities.sign_in_with_assertion(client_id, made.decode(), "https://x").name


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
