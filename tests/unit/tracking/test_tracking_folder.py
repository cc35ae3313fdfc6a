"""Files below a folder in which somebody else writes too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smalt.arm.errors import ArmError
from smalt.tracking.artifacts.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "container", tmp_path / "staging")


def put(folder: Folder, name: str, content: bytes) -> None:
    with folder.replace(name) as file:
        file.write(content)


def get(folder: Folder, name: str) -> bytes:
    with folder.open(name) as file:
        return file.read()


def test_a_file_is_there_only_when_complete(folder: Folder, tmp_path: Path) -> None:
    put(folder, "a/b.txt", b"old")
    with folder.replace("a/b.txt") as file:
        file.write(b"new")
        assert get(folder, "a/b.txt") == b"old"
        assert [one.name for one in folder.entries("a")] == ["b.txt"]
    assert get(folder, "a/b.txt") == b"new"
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_broken_write_leaves_the_old_file_and_no_rest(folder: Folder, tmp_path: Path) -> None:
    put(folder, "a.txt", b"old")
    with pytest.raises(RuntimeError), folder.replace("a.txt") as file:
        file.write(b"half")
        raise RuntimeError
    assert get(folder, "a.txt") == b"old"
    assert list((tmp_path / "staging").iterdir()) == []


def test_links_are_not_followed(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    folder.root.mkdir()
    (folder.root / "file").symlink_to(outside / "secret")
    (folder.root / "folder").symlink_to(outside)
    for name in ("file", "folder/secret"):
        with pytest.raises(ArmError) as caught:
            folder.open(name)
        assert caught.value.status == 409
    with pytest.raises(ArmError):
        put(folder, "folder/new", b"x")
    assert folder.entries("") == [] and folder.entries("folder") == []
    folder.remove("folder")
    put(folder, "file", b"own")
    assert [one.name for one in outside.iterdir()] == ["secret"] and (outside / "secret").read_text() == "secret"
    assert get(folder, "file") == b"own"


def test_a_file_and_a_folder_cannot_have_one_name(folder: Folder) -> None:
    put(folder, "a", b"file")
    put(folder, "b/c", b"file")
    for name in ("a/b", "b"):
        with pytest.raises(ArmError) as caught:
            put(folder, name, b"x")
        assert caught.value.status == 409
    with pytest.raises(ArmError) as caught:
        folder.open("b")
    assert caught.value.status == 400
    with pytest.raises(ArmError) as caught:
        folder.open("missing/x")
    assert caught.value.status == 404


def test_what_is_no_plain_file_does_not_block(folder: Folder) -> None:
    folder.root.mkdir()
    os.mkfifo(folder.root / "pipe")
    with pytest.raises(ArmError):
        folder.open("pipe")
    assert folder.entries("") == []


def test_lists(folder: Folder) -> None:
    put(folder, "run/z", b"1")
    put(folder, "run/a/b", b"22")
    put(folder, "running/x", b"333")
    assert [(one.name, one.is_folder, one.size_bytes) for one in folder.entries("run")] == [
        ("a", True, 0),
        ("z", False, 1),
    ]
    assert list(folder.files("run")) == [("a/b", 2), ("z", 1)]
    assert folder.entries("missing") == [] and folder.entries("run/z") == []


def test_remove_and_rename(folder: Folder) -> None:
    put(folder, "run/model/MLmodel", b"1")
    folder.rename("run/model", "model.m-1")
    folder.rename("run/missing", "x")
    assert list(folder.files("run")) == [("model.m-1/MLmodel", 1)]
    folder.remove("run/missing/deep")
    folder.remove("run/model.m-1")
    assert list(folder.files("run")) == []
