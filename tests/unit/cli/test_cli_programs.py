"""What the supervisor is given to run, and what of the user's environment it gets."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from smalt.auth.certificates import ensure_certificates
from smalt.cli import programs as table_of
from smalt.cli.daemon import Order
from smalt.cli.programs import programs, without_client_variables
from smalt.cli.root import CliError, prepare
from smalt.cli.variables import client_variables
from smalt.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    one = Settings(tmp_path / "root", port=9443)
    prepare(one)
    ensure_certificates(one)
    return one


def test_the_table_is_what_a_platform_needs_with_binaries_that_exist(settings: Settings) -> None:
    table = {one.name: one for one in programs(settings, {"PATH": "/usr/bin"})}
    assert list(table) == ["server", "envoy", "mlflow"]
    assert list(table["server"].command[:4]) == [sys.executable, "-P", "-m", "smalt.start"]
    assert all(os.access(one.command[0], os.X_OK) for one in table.values())
    asked = {name: (Path(one.health.socket).name, one.health.path) for name, one in table.items() if one.health}
    assert asked == {
        "server": ("server.sock", "/healthz"),
        "envoy": ("envoy.sock", "/ready"),
        "mlflow": ("mlflow.sock", "/health"),
    }
    assert all(one.health and one.health.memory_bytes >= 2 << 30 for one in table.values())
    assert Order.read(Order(settings, tuple(table.values()), "1").write()).programs == list(table.values())
    assert [one.name for one in table.values() if one.on_demand] == ["mlflow"]
    assert [one.name for one in table.values() if one.stops_last] == ["envoy"]
    assert not any("SECRET" in " ".join(one.command).upper() for one in table.values())


def test_a_head_of_ray_is_one_of_them_where_it_is_wanted(settings: Settings) -> None:
    variables = {"PATH": "/usr/bin", "AWS_SECRET_ACCESS_KEY": "s", "RAY_ADDRESS": "elsewhere:1"}
    here = replace(settings, ray="local")
    (head,) = (one for one in programs(here, variables) if one.name == "ray")
    assert list(head.command[1:]) == ["-P", "-m", "smalt.cli.ray_head", str(settings.root)]
    assert not {"AWS_SECRET_ACCESS_KEY", "RAY_ADDRESS"} & set(head.environment)
    elsewhere = replace(settings, ray="http://head:8265")
    assert all(one.name != "ray" for one in programs(elsewhere, variables))


def test_a_missing_envoy_is_one_clear_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = settings.root / "no" / "envoy"
    monkeypatch.setattr(table_of, "command", lambda configuration: [str(missing), "--config-path", str(configuration)])
    with pytest.raises(CliError, match=r"envoy's program .*/no/envoy is missing"):
        programs(settings, {})


def test_the_platform_is_not_its_own_client(settings: Settings) -> None:
    exported = client_variables(settings, "secret")
    mine = {"PATH": "/bin", "AWS_ACCESS_KEY_ID": "k", "AZURE_STORAGE_ACCOUNT_NAME": "a", "UV_INDEX_URL": "u"}
    noise = {"MLFLOW_TRACKING_URI": "https://elsewhere", "AZUREML_RUN_ID": "r"}
    assert without_client_variables(settings, {**exported, **mine, **noise}) == mine


def test_a_ca_bundle_of_the_users_own_stays(settings: Settings) -> None:
    own = {"SSL_CERT_FILE": "/etc/ssl/company.pem", "REQUESTS_CA_BUNDLE": "/etc/ssl/company.pem"}
    assert without_client_variables(settings, own) == own
