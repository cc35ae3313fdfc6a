"""A hard link to one of the platform's own files shows nobody what is in it; other hard links are ordinary files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smalt.arm.errors import ArmError
from smalt.auth import private_files
from smalt.auth.private_files import PrivateFiles
from smalt.blob.store.folder import FolderStore
from smalt.settings import Settings
from smalt.tracking.artifacts.folder import Folder

PRIVATE = [
    "smalt.db",
    "mlflow.db-wal",
    "secrets/msi",
    "tls/ca.key",
    "gateway/rds/rds.json",
    "logs/server.log",
    "tasks/job-1/task.json",
]
INNOCENT = [
    "tasks/job-1/work/data.csv",
    "tasks/job-1/outputs/model.pkl",
    "envs/logs/key.log",
    "tasks/srv-1/user/model/m.pkl",
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(root=tmp_path / "root")
    for name in (*PRIVATE, *INNOCENT):
        path = made.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return made


@pytest.fixture
def outputs(settings: Settings) -> Path:
    path = settings.blobs / "acct/data"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("name", PRIVATE)
def test_a_hard_link_to_a_private_file_is_not_there(settings: Settings, outputs: Path, name: str) -> None:
    os.link(settings.root / name, outputs / "link")
    (outputs / "own").write_text("1")
    hides = PrivateFiles(settings).hides
    store = FolderStore(settings.blobs, hides=hides)
    assert store.head("acct/data", "link") is None
    assert store.open("acct/data", "link") is None
    assert [getattr(one, "name", one) for one in store.list("acct/data").entries] == ["own"]
    with pytest.raises(ArmError) as caught:
        Folder(outputs, settings.root / "staging", hides).open("link")
    assert caught.value.status == 404


@pytest.mark.parametrize("name", INNOCENT)
def test_other_hard_links_are_files(settings: Settings, outputs: Path, name: str) -> None:
    os.link(settings.root / name, outputs / "link")
    hides = PrivateFiles(settings).hides
    info = FolderStore(settings.blobs, hides=hides).head("acct/data", "link")
    assert info is not None
    assert info.size == len(name)
    with Folder(outputs, settings.root / "staging", hides).open("link") as file:
        assert file.read() == name.encode()


def test_a_file_that_became_private_later_is_hidden_too(
    settings: Settings, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(settings.blobs, hides=PrivateFiles(settings).hides)
    os.link(settings.secrets / "msi", outputs / "first")
    assert store.head("acct/data", "first") is None
    (settings.secrets / "new").write_text("1")
    os.link(settings.secrets / "new", outputs / "second")
    monkeypatch.setattr(private_files, "_FRESH_S", 0.0)  # what it read is old now
    assert store.head("acct/data", "second") is None
