from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from live.patience import PATIENCE_S
from smalt.auth.certificates import ensure_certificates, keep_renewed
from smalt.settings import Settings


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def snapshot(settings: Settings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in settings.tls.iterdir()}


@pytest.mark.parametrize("host", ["localhost", "ml.example.org", "192.0.2.7", "::1"])
def test_the_server_certificate_is_good_for_every_name(settings: Settings, host: str) -> None:
    settings = replace(settings, host=host)
    made = ensure_certificates(settings)
    ca, server = load(made.ca), load(made.server)
    builder = PolicyBuilder().store(Store([ca]))
    for name in {"localhost", "ml.example.org" if host == "ml.example.org" else "localhost", "acct.blob.core.smalt"}:
        assert builder.build_server_verifier(x509.DNSName(name)).verify(server, [])
    for address in {"127.0.0.1", "::1", host if host[0].isdigit() else "::1"}:
        subject = x509.IPAddress(ipaddress.ip_address(address))
        assert builder.build_server_verifier(subject).verify(server, [])
    with pytest.raises(x509.verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("elsewhere.example.org")).verify(server, [])


def test_nothing_changes_where_all_is_there(settings: Settings) -> None:
    assert ensure_certificates(settings).renewed
    before = snapshot(settings)
    assert not ensure_certificates(settings).renewed
    assert snapshot(settings) == before


def test_another_host_or_an_end_within_30_days_renews_the_server_but_not_the_authority(settings: Settings) -> None:
    ensure_certificates(settings)
    first = snapshot(settings)
    elsewhere = replace(settings, host="ml.example.org")
    assert ensure_certificates(elsewhere).renewed and not ensure_certificates(elsewhere).renewed
    second = snapshot(settings)
    assert second["ca.pem"] == first["ca.pem"] and second["server.pem"] != first["server.pem"]
    soon = datetime.now(UTC) + timedelta(days=368)
    assert ensure_certificates(elsewhere, soon).renewed
    assert not ensure_certificates(elsewhere, soon).renewed
    assert snapshot(settings)["ca.pem"] == first["ca.pem"]


def test_an_authority_near_its_end_is_replaced(settings: Settings) -> None:
    before = load(ensure_certificates(settings).ca)
    made = ensure_certificates(settings, datetime.now(UTC) + timedelta(days=3400))
    assert made.renewed and load(made.ca) != before
    load(made.server).verify_directly_issued_by(load(made.ca))
    assert made.ca.read_bytes() in made.bundle.read_bytes()


@pytest.mark.parametrize("broken", ["ca.pem", "ca.key", "server.pem", "server.key"])
def test_a_missing_or_broken_file_is_mended(settings: Settings, broken: str) -> None:
    ensure_certificates(settings)
    (settings.tls / broken).write_text("nonsense")
    assert ensure_certificates(settings).renewed
    made = ensure_certificates(settings)
    assert not made.renewed
    load(made.server).verify_directly_issued_by(load(made.ca))


def test_keys_are_private_and_the_bundle_has_the_public_authorities_too(settings: Settings) -> None:
    made = ensure_certificates(settings)
    assert settings.tls.stat().st_mode & 0o777 == 0o700
    for key in ("ca.key", "server.key"):
        assert (settings.tls / key).stat().st_mode & 0o777 == 0o600
    assert Path(certifi.where()).read_bytes().strip() in made.bundle.read_bytes()
    assert made.ca.read_bytes() in made.bundle.read_bytes()
    made.bundle.unlink()
    assert not ensure_certificates(settings).renewed and made.bundle.exists()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


def test_a_platform_that_runs_on_renews_its_certificate_also_after_a_failure(settings: Settings) -> None:
    server = ensure_certificates(settings, datetime.now(UTC) - timedelta(days=380)).server
    old = server.read_bytes()
    server.unlink()
    server.mkdir()  # cannot be replaced by a file
    stopped = threading.Event()
    thread = threading.Thread(target=keep_renewed, args=(settings, stopped, 0.01))
    thread.start()
    key = settings.tls / "server.key"
    tried = key.stat().st_mtime_ns
    until(lambda: key.stat().st_mtime_ns != tried)  # the key comes first
    server.rmdir()
    until(server.is_file)
    stopped.set()
    thread.join()
    assert server.read_bytes() != old
    assert load(server).not_valid_after_utc > datetime.now(UTC) + timedelta(days=390)
