"""A built environment as one file: what is in it, what is made anew, and what is never taken from one."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

import pytest

from smalt.environments.uv.layout import Layout
from smalt.environments.uv.locks import Resolution, write_lock
from smalt.environments.uv.packs import Unfit, main, pack, platform_of, unpack

KEY = "ab" * 20
LOCK = Resolution("alpha==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n", (), ("a note",))
LIBRARY = "lib/python3.11/site-packages"


@pytest.fixture
def built(tmp_path: Path) -> Layout:
    """As a build leaves it."""
    layout = Layout(tmp_path / "here")
    write(layout, "bin/tool", f"#!{layout.prefix(KEY)}/bin/python\nprint()\n", 0o755)
    write(layout, "bin/activate", "VIRTUAL_ENV=here\n")
    write(layout, "pyvenv.cfg", "home = /here\n")
    write(layout, ".complete", "{}")
    write(layout, f"{LIBRARY}/alpha/__init__.py", "")
    write(layout, f"{LIBRARY}/alpha/__pycache__/__init__.cpython-311.pyc", "bytecode")
    write(layout, "share/alpha/data.txt", "data")
    os.utime(layout.prefix(KEY) / LIBRARY / "alpha/__init__.py", (1_600_000_000, 1_600_000_000))
    (layout.prefix(KEY) / "bin/python").symlink_to(sys.executable)
    (layout.prefix(KEY) / "lib64").symlink_to("lib")
    os.link(layout.prefix(KEY) / "share/alpha/data.txt", layout.prefix(KEY) / "share/alpha/same.txt")
    layout.lock(KEY).parent.mkdir()
    write_lock(layout.lock(KEY), KEY, LOCK)
    return layout


def write(layout: Layout, name: str, text: str, mode: int = 0o644) -> None:
    path = layout.prefix(KEY) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """Another machine's, as `uv venv` makes it."""
    prefix = tmp_path / "there" / KEY
    (prefix / "bin").mkdir(parents=True)
    (prefix / LIBRARY).mkdir(parents=True)
    (prefix / "bin/python").symlink_to(sys.executable)
    (prefix / "bin/activate").write_text("VIRTUAL_ENV=there\n")
    (prefix / "pyvenv.cfg").write_text("home = /there\n")
    return prefix


def test_what_came_with_packages_is_there_and_what_is_a_machines_own_is_its_own(built: Layout, fresh: Path) -> None:
    assert unpack(pack(built, KEY), fresh) == LOCK
    tool = (fresh / "bin/tool").read_text()  # its head has another form where the path is long
    assert f"{fresh}/bin/python" in tool and str(built.envs) not in tool and tool.endswith("\nprint()\n")
    assert os.access(fresh / "bin/tool", os.X_OK)
    assert (fresh / LIBRARY / "alpha/__init__.py").stat().st_mtime == 1_600_000_000
    assert (fresh / LIBRARY / "alpha/__pycache__/__init__.cpython-311.pyc").read_text() == "bytecode"
    assert {one.read_text() for one in (fresh / "share/alpha").iterdir()} == {"data"}
    assert (fresh / "pyvenv.cfg").read_text() == "home = /there\n"
    assert (fresh / "bin/activate").read_text() == "VIRTUAL_ENV=there\n"
    assert (fresh / "bin/python").readlink() == Path(sys.executable) and not (fresh / ".complete").exists()


def test_what_holds_for_one_machine_alone_is_not_packed(built: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> str:
        assert main([str(built.envs), KEY]) == 1
        assert not built.packed(KEY).exists() and not list((built.envs / "packs").glob("*"))
        return capsys.readouterr().out

    built.packed(KEY).parent.mkdir()
    write(built, f"{LIBRARY}/here.pth", f"{built.prefix(KEY)}/src\n")
    assert "here.pth leads to where it was built" in refused()
    (built.prefix(KEY) / LIBRARY / "here.pth").unlink()
    built.wheels(KEY).mkdir(parents=True)
    (built.wheels(KEY) / "alpha-1.0-cp311-cp311-linux_x86_64.whl").write_text("")
    assert "were compiled here" in refused()
    (built.wheels(KEY) / "alpha-1.0-cp311-cp311-linux_x86_64.whl").rename(built.wheels(KEY) / "a-1-py3-none-any.whl")
    write_lock(built.lock(KEY), KEY, Resolution("alpha @ https://elsewhere.example/alpha.whl\n", (), ()))
    assert "addresses of their own" in refused()
    built.lock(KEY).unlink()
    assert "no lock" in refused()
    write_lock(built.lock(KEY), KEY, LOCK)
    assert main([str(built.envs), KEY]) == 0 and built.packed(KEY).exists()


def test_a_torn_one_is_not_used(built: Layout, fresh: Path) -> None:
    whole = pack(built, KEY).read_bytes()
    for length in (0, 10, len(whole) // 2):
        built.packed(KEY).write_bytes(whole[:length])
        with pytest.raises((Unfit, OSError)):
            unpack(built.packed(KEY), fresh)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../outside",
        "lib/../../outside",
        "bin/python",
        "bin/python3",
        "pyvenv.cfg",
        "lib64/x",
        ".complete",
    ],
)
def test_nothing_is_written_elsewhere_nor_over_the_machines_own(built: Layout, fresh: Path, name: str) -> None:
    with pytest.raises(Unfit, match="does not belong"):
        unpack(added(built, tarfile.TarInfo(name)), fresh)
    assert not (fresh.parent / "outside").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_only_files_are_taken(built: Layout, fresh: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("lib/link")
    info.type, info.linkname = kind, "/etc"
    with pytest.raises(Unfit, match="does not belong"):
        unpack(added(built, info), fresh)


@pytest.mark.parametrize(
    ("name", "headers"), [("lib/x\0y", {}), ("lib/x", {"mtime": "nan"}), ("lib/x", {"mtime": "1e300"})]
)
def test_names_and_times_that_no_file_has_are_refused(
    built: Layout, fresh: Path, name: str, headers: dict[str, str]
) -> None:
    info = tarfile.TarInfo("lib/y")
    info.pax_headers = {"path": name, **headers}
    with pytest.raises(Unfit):
        unpack(added(built, info), fresh)


def test_a_lock_with_instructions_is_not_taken(built: Layout, fresh: Path) -> None:
    made = pack(built, KEY)
    with tarfile.open(made) as archive:
        opened = archive.extractfile("about.json")
        assert opened is not None
        text = opened.read().replace(b"alpha==1.0", b"--index-url https://elsewhere.example")
    info = tarfile.TarInfo("about.json")
    info.size = len(text)
    with tarfile.open(made, "w:gz") as archive:
        archive.addfile(info, io.BytesIO(text))
    with pytest.raises(Unfit, match="lock cannot be used"):
        unpack(made, fresh)


def test_a_platform_is_what_files_depend_on() -> None:
    said = platform_of(sys.executable)
    assert said.startswith("Linux-") and f"-{sys.version.split()[0]}-" in said and "glibc" in said
    with pytest.raises(OSError):
        platform_of("/nowhere/python")


def added(layout: Layout, info: tarfile.TarInfo) -> Path:
    """A pack with one more member."""
    made = pack(layout, KEY)
    with tarfile.open(made) as archive:
        members = [(one, archive.extractfile(one)) for one in archive]
        kept = [(one, opened.read() if opened else b"") for one, opened in members]
    with tarfile.open(made, "w:gz") as archive:
        for one, data in kept:
            archive.addfile(one, io.BytesIO(data))
        archive.addfile(info)
    return made
