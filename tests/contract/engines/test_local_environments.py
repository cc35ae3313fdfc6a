"""A task over a shared virtual environment: sees it, installs over it, never changes it. Real pip, real uv, no network."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

BASE = Path(sys._base_executable)  # type: ignore[attr-defined]


def make_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel by hand: one module that knows its version, a console script, a data file in share/, a .pth file."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f"VERSION = {version!r}\n\n\ndef main():\n    import sys\n\n    print(VERSION, sys.prefix)\n",
        f"{name}.pth": f"import sys; sys.{name}_pth = True\n",
        f"{name}-{version}.data/data/share/{name}/note.txt": version,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{one},,\n" for one in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in (("greet", "1.0"), ("greet", "2.0"), ("extra", "3.0")):
        make_wheel(folder, name, version)
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    prefix = tmp_path_factory.mktemp("shared env") / "env"
    subprocess.run([BASE, "-m", "venv", prefix], check=True)
    install = [prefix / "bin" / "python", "-m", "pip", "install", "-q", "--no-index", "--find-links", wheels]
    subprocess.run([*install, "greet==1.0"], check=True)
    return prefix


def fingerprint(prefix: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(prefix.rglob("*")):
        digest.update(str(path).encode())
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def test_the_environment_is_seen_through_the_overlay(local: Any, shared: Path) -> None:
    state, log = local.run(
        command="which python greet; python -c 'import greet, sys; print(greet.VERSION, sys.greet_pth, sys.prefix)'; "
        "greet; echo $VIRTUAL_ENV; cat $VIRTUAL_ENV/share/greet/note.txt; python3 -m pip list --format freeze",
        environment=str(shared),
    )
    venv = local.folder("t") / "user" / "venv"
    assert state.exit_code == 0, log
    assert log.splitlines()[:6] == [
        f"{venv}/bin/python",
        f"{venv}/bin/greet",
        f"1.0 True {venv}",
        f"1.0 {venv}",
        str(venv),
        "1.0" + log.splitlines()[5][3:],
    ]
    assert "greet==1.0" in log


INSTALLERS = ["pip install -q --no-index", "python -m pip install -q --no-index", "uv pip install -q --no-index"]


@pytest.mark.parametrize("installer", INSTALLERS)
def test_installing_never_changes_the_shared_environment(
    local: Any, shared: Path, wheels: Path, installer: str
) -> None:
    before = fingerprint(shared)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    command = installer.replace("uv ", f"'{uv}' ", 1) if installer.startswith("uv") else installer
    state, log = local.run(
        command=f"{command} --find-links '{wheels}' greet==2.0 extra && greet && extra && "
        "python -m pip list --format freeze; cat $VIRTUAL_ENV/share/greet/note.txt; touch $VIRTUAL_ENV/ok",
        environment=str(shared),
    )
    venv = local.folder("t") / "user" / "venv"
    assert state.exit_code == 0, log
    lines = log.splitlines()
    assert f"2.0 {venv}" in lines
    assert f"3.0 {venv}" in lines
    assert "greet==2.0" in lines
    assert "extra==3.0" in lines
    assert any(line.startswith("pip==") for line in lines)
    assert lines[-1] == "2.0"
    assert fingerprint(shared) == before
    _, log = local.run("next", command="greet; python -c 'import extra'", environment=str(shared))
    assert log.startswith("1.0 ")
    assert "No module named 'extra'" in log


@pytest.mark.parametrize(
    "command", ["rm -r {0}/lib", "touch {0}/x", "pip uninstall -q -y greet", "echo > {0}/bin/greet"]
)
def test_nothing_in_a_command_can_damage_it(local: Any, shared: Path, command: str) -> None:
    before = fingerprint(shared)
    local.run(command=command.format(f"'{shared}'"), environment=str(shared))
    assert fingerprint(shared) == before


def test_scripts_run_from_a_root_with_spaces_and_depth(tmp_path: Path, shared: Path, local: Any) -> None:
    deep = tmp_path / ("a b " + "x" * 60) / ("y" * 60)
    other = type(local)(deep)
    try:
        state, log = other.run(
            command="greet; python -c 'import tempfile, multiprocessing.connection as c; "
            'c.Listener(family="AF_UNIX"); print("socket")\'',
            environment=str(shared),
        )
        assert state.exit_code == 0, log
        assert log.splitlines() == [f"1.0 {other.folder('t')}/user/venv", "socket"]
    finally:
        other.close()
