"""Copies, links and logs of the agent, on real files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fakes.refs import places, ref
from smalt.agent import linux
from smalt.agent.artifacts import collect_artifacts, link_artifacts
from smalt.agent.copying import copy_file, copy_tree, remove_tree
from smalt.agent.environ import base_environment, check_variables
from smalt.agent.failures import SetupError
from smalt.agent.inputs import prepare_inputs, safe_folder
from smalt.agent.journal import Journal, tail
from smalt.agent.mounts import Namespace
from smalt.agent.outputs import finish_outputs, prepare_outputs, settle_links
from smalt.agent.wire import InputSpec, OutputSpec


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "log" / "system.txt")


@pytest.mark.parametrize("size", [0, 1, 5000, 3 << 20])
def test_a_copy_is_equal_and_not_the_same_file(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(os.urandom(size))
    copy_file(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_ino != source.stat().st_ino
    assert target.stat().st_mtime_ns == source.stat().st_mtime_ns


def test_a_copied_script_can_be_run(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("#!/bin/sh\n")
    (tmp_path / "a").chmod(0o444)
    copy_file(tmp_path / "a", tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o744


def test_a_link_is_never_copied_through(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("secret")
    (tmp_path / "l").symlink_to("a")
    with pytest.raises(OSError):
        copy_file(tmp_path / "l", tmp_path / "b")


def test_copy_tree_names_what_it_left_out(tmp_path: Path) -> None:
    source = tmp_path / "s"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_text("1")
    (source / "kept").symlink_to("d/f")
    (source / "absolute").symlink_to(source / "d" / "f")
    (source / "up").symlink_to("../outside")
    (source / "d" / "through").symlink_to("../up/x")
    os.mkfifo(source / "pipe")
    left: list[str] = []
    assert copy_tree(source, tmp_path / "t", left.append) == 1
    assert sorted(one.partition(":")[0] for one in left) == ["absolute", "d/through", "pipe", "up"]
    assert (tmp_path / "t" / "kept").read_text() == "1"
    assert (tmp_path / "t" / "kept").is_symlink()


def test_remove_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "f").touch()
    (tmp_path / "t" / "d").mkdir(parents=True)
    (tmp_path / "t" / "d" / "l").symlink_to(tmp_path / "keep")
    remove_tree(tmp_path / "t")
    assert not (tmp_path / "t").exists()
    assert (tmp_path / "keep" / "f").exists()


@pytest.mark.parametrize("name", ["../up", "/abs", "..", ".", "", "a/b", "x" * 300, "a\0b"])
def test_no_input_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    place = safe_folder(name, tmp_path)
    assert place.parent == tmp_path
    place.mkdir()


def test_without_mounts_an_input_is_a_copy_without_write_permission(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_flags: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(linux, "unshare", refuse)
    source = tmp_path / "data"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_text("1")
    specs = [
        InputSpec("folder", "uri_folder", source=ref(source)),
        InputSpec("f", "uri_file", source=ref(source / "d/f")),
    ]
    values = prepare_inputs(specs, places(*specs), tmp_path / "inputs", Namespace(), journal)
    for path in (Path(values["folder"]) / "d" / "f", Path(values["f"])):
        assert path.read_text() == "1"
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert path.stat().st_ino != (source / "d" / "f").stat().st_ino
    assert stat.S_IMODE((Path(values["folder"]) / "d").stat().st_mode) == 0o500
    assert "without write permission instead" in (tmp_path / "log" / "system.txt").read_text()


def test_uploads_replace_and_keep(tmp_path: Path, journal: Journal) -> None:
    target = tmp_path / "store"
    target.mkdir()
    (target / "old").write_text("old")
    (target / "both").write_text("old")
    specs = [OutputSpec("o", mode="upload", target=ref(target))]
    place = Path(prepare_outputs(specs, places(*specs), tmp_path / "outputs")["o"])
    (place / "deep" / "er").mkdir(parents=True)
    (place / "deep" / "er" / "f").write_text("new")
    (place / "both").write_text("new")
    finish_outputs(specs, places(*specs), tmp_path / "outputs", tmp_path, journal)
    assert {one.name: one.read_text() for one in target.rglob("*") if one.is_file()} == {
        "old": "old",
        "both": "new",
        "f": "new",
    }


def test_an_output_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = OutputSpec("o", target=ref(tmp_path / "file" / "below"))
    with pytest.raises(SetupError, match="Output 'o'"):
        prepare_outputs([output], places(output), tmp_path)


def test_links_to_each_other_end(tmp_path: Path, journal: Journal) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    (root / "a" / "to_b").symlink_to("../b")
    (root / "b" / "to_a").symlink_to("../a")
    (root / "self").symlink_to("self")
    settle_links(root, tmp_path / "work", journal)
    assert not any(one.is_symlink() for one in root.rglob("*"))


def test_artifact_links_survive_a_second_attempt(tmp_path: Path, journal: Journal) -> None:
    for attempt in ("first", "second"):
        work = tmp_path / attempt
        work.mkdir()
        link_artifacts(work, tmp_path / "artifacts", str(tmp_path))
        (work / "outputs" / attempt).touch()
        collect_artifacts(work, tmp_path / "artifacts", journal, str(tmp_path))
    assert sorted(one.name for one in (tmp_path / "artifacts" / "outputs").iterdir()) == ["first", "second"]


def test_tail_begins_after_the_offset_and_is_short(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n" + "".join(f"{index}\n" for index in range(100)))
    with (tmp_path / "log").open("rb") as log:
        assert tail(log.fileno(), 0).splitlines() == [str(index) for index in range(80, 100)]
        assert "before" not in tail(log.fileno(), 7, lines=1000)


def test_the_base_environment_passes_on_only_what_is_listed(tmp_path: Path) -> None:
    machine = {
        "PATH": "/usr/bin",
        "SECRET": "x",
        "AZURE_CLIENT_SECRET": "x",
        "HTTPS_PROXY": "p",
        "LC_ALL": "C",
        "HOME": "/h",
    }
    made = base_environment(machine, tmp_path, "m")
    assert made["PATH"] == "/usr/bin"
    assert made["HTTPS_PROXY"] == "p"
    assert made["LC_ALL"] == "C"
    assert "x" not in made.values()


@pytest.mark.parametrize("variables", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "x\0"}])
def test_variables_that_cannot_be_set_are_named(variables: dict[str, str]) -> None:
    assert check_variables(variables)
    assert check_variables({"A": "x=y\n"}) == ""
