"""What a node's folder has before its service begins: whole, whatever happened to the machine."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from smalt.auth.certificates import ensure_certificates
from smalt.node.credential import Credential
from smalt.node.host import _incarnation, make_service, node_settings
from smalt.settings import Settings


def test_a_name_that_was_lost_with_the_power_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "incarnation").write_text("")
    name = _incarnation(tmp_path)
    assert len(name) == 32 and _incarnation(tmp_path) == name


def test_a_full_disk_leaves_what_tasks_of_before_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = ensure_certificates(Settings(tmp_path / "authority")).ca.read_text()
    credential = Credential("https://127.0.0.1:9", "far", "token", ca)
    settings = node_settings(tmp_path / "root", credential, "off")
    settings.tls.mkdir(parents=True)
    bundle = settings.tls / "bundle.pem"
    bundle.write_text("as before")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        make_service(settings, credential, None)
    assert bundle.read_text() == "as before" and [one.name for one in settings.tls.iterdir()] == ["bundle.pem"]


def test_a_full_disk_leaves_no_half_of_a_token_file(tmp_path: Path) -> None:
    credential, file = Credential("https://127.0.0.1:9", "far", "token", "ca"), tmp_path / "far.json"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError):
            credential.write(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not file.exists()
    credential.write(file)
    assert Credential.read(file) == credential
