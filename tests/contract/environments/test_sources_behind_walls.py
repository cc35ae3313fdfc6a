"""Source distributions are built behind walls: what their code can reach while an environment is built, tried.

The package of these tests has a build backend of its own, which attacks and writes down how it went.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live.patience import PATIENCE_S
from smalt.agent.walled import WALLS
from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec
from smalt.engines.local.isolation import Walling
from smalt.environments import UvEnvironments
from smalt.environments.uv.feeds import LOGINS
from smalt.environments.uv.layout import VARIABLE, Layout
from smalt.environments.uv.locks import read_lock
from smalt.settings import Settings

WAYS = ["users", "root", "files"]
BACKEND = """
import base64, hashlib, os, socket, zipfile

ROOT, NAME = ROOT_PATH, "evil-1.0-py3-none-any.whl"

def tried(what):
    try:
        what()
        return "done"
    except OSError:
        return "refused"

def connect():
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(f"{ROOT}/run/server.sock")

def attack():
    found = {
        "secret": tried(lambda: open(f"{ROOT}/secrets/signing.pem").read()),
        "cache": tried(lambda: open(f"{ROOT}/envs/cache/poison", "w")),
        "other": tried(lambda: open(f"{ROOT}/envs/venvs/other/poison", "w")),
        "lock": tried(lambda: open(f"{ROOT}/envs/locks/other.txt", "w")),
        "list": tried(lambda: os.listdir(f"{ROOT}/secrets")),
        "socket": tried(connect),
        "processes": "refused" if PARENT not in os.listdir("/proc") else "done",
        "user": os.getuid(),
        "open": sorted(os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd") if 3 <= int(one) and os.path.exists(f"/proc/self/fd/{one}")),
        "variables": sorted(os.environ),
    }
    return found

PARENT = PARENT_ID

def metadata():
    return "Metadata-Version: 2.1\\nName: evil\\nVersion: 1.0\\n"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    files = {
        "evil.py": f"EVIDENCE = {attack()!r}\\n",
        "evil.pth": f"import evil; open({ROOT + '/pth'!r}, 'a').write('ran')\\n",
        "evil-1.0.dist-info/METADATA": metadata(),
        "evil-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    with zipfile.ZipFile(os.path.join(folder, NAME), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr("evil-1.0.dist-info/RECORD", "".join(f"{one},,\\n" for one in [*files, "evil-1.0.dist-info/RECORD"]))
    return NAME
"""
SPEAKING = """
    for one in os.listdir("/proc"):
        if one.isdigit():
            tried(lambda: open(f"/proc/{one}/fd/1", "w").write("-r /etc/passwd\\n"))
"""


class Site:
    """One platform's root, the folder that its packages come from, and who builds."""

    def __init__(self, folder: Path, way: str) -> None:
        self.way = way
        self.settings = Settings(folder / "root", isolation="files" if way == "files" else "auto")
        self.layout = Layout(self.settings.envs)
        self.links = folder / "links"
        root = self.settings.root
        for one in ("secrets", "run", "tasks", "envs/cache", "envs/venvs/other", "envs/locks"):
            (root / one).mkdir(mode=0o700, parents=True)
        self.links.mkdir()
        (root / "secrets" / "signing.pem").write_text("KEY")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(root / "run" / "server.sock"))
        self.listener.listen()
        variables = {**os.environ, "UV_FIND_LINKS": str(self.links), "PIP_CONFIG_FILE": os.devnull}
        self.environments = UvEnvironments(self.settings, variables | {"SSH_AUTH_SOCK": "/agent", "HOME": str(root)})
        self.source(BACKEND)

    def source(self, backend: str, **more: str) -> None:
        backend = backend.replace("ROOT_PATH", repr(str(self.settings.root))).replace(
            "PARENT_ID", repr(str(os.getpid()))
        )
        files = {
            "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
            "backend.py": backend,
            "PKG-INFO": "Metadata-Version: 1.0\nName: evil\nVersion: 1.0\n",
        }
        with tarfile.open(self.links / "evil-1.0.tar.gz", "w:gz") as archive:
            for path, text in {**files, **more}.items():
                info = tarfile.TarInfo(f"evil-1.0/{path}")
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))

    def plan(self, text: str = "--no-index\nevil==1.0") -> EnvironmentPlan:
        plan = self.environments.plan(EnvironmentSpec(name="evil", pip_requirements=text))
        return EnvironmentPlan(plan.key, {**plan.definition, "seeds": []}, plan.summary)

    def build(self, plan: EnvironmentPlan) -> tuple[int, str]:
        """As the engine starts it: the exit status, and what was said."""
        task = Walling(self.settings).around(self.environments.task(plan, "/o", 1))
        assert WALLS in task.variables and task.walls is None
        walls: dict[str, Any] = json.loads(task.variables[WALLS])
        assert bool(walls["user"]) == (os.geteuid() == 0 and self.way != "files")
        if self.way == "root":
            walls["user"] = 0
        variables = {**task.variables, WALLS: json.dumps(walls)}
        ran = subprocess.run(task.argv, env=variables, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    def evidence(self, plan: EnvironmentPlan) -> dict[str, Any]:
        python = self.environments.prefix(plan.key) / "bin" / "python"
        code = "import evil, json; print(json.dumps(evil.EVIDENCE))"
        return json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout)


@pytest.fixture(params=WAYS if os.geteuid() == 0 else ["as it is", "files"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, request.param)
    yield made
    made.listener.close()


@pytest.fixture
def walled(tmp_path: Path) -> Iterator[Site]:
    """With the best walls that this machine has."""
    made = Site(tmp_path, WAYS[0])
    yield made
    made.listener.close()


def test_the_code_of_a_source_reaches_nothing_of_the_platform(site: Site) -> None:
    plan = site.plan()
    code, log = site.build(plan)
    assert code == 0, log
    found = site.evidence(plan)
    for what in ("secret", "cache", "other", "lock", "list"):
        assert found[what] == "refused", (what, found)
    if site.way != "files":
        assert found["socket"] == found["processes"] == "refused"
    if site.way == "users":
        assert 61184 <= found["user"] < 65280
    assert not [one for one in found["open"] if one.startswith(str(site.settings.root))]
    assert {VARIABLE, LOGINS, WALLS, "SSH_AUTH_SOCK"}.isdisjoint(found["variables"])
    assert not site.layout.scratch(plan.key).exists()
    lock = read_lock(site.layout.lock(plan.key))
    source = hashlib.sha256((site.links / "evil-1.0.tar.gz").read_bytes()).hexdigest()
    assert lock is not None and lock.sources == ("evil",) and source in lock.text  # the source is what is promised


def test_nothing_that_was_built_comes_into_the_cache_of_all(walled: Site) -> None:
    assert walled.build(walled.plan())[0] == 0
    built = [one for one in walled.layout.cache.glob("sdists-*/**/*") if "evil" in one.name]
    assert not built and not (walled.layout.cache / "poison").exists()


def test_what_was_installed_is_not_run_by_the_build_or_the_compiling(walled: Site) -> None:
    plan = walled.plan()
    assert walled.build(plan)[0] == 0
    compiling = walled.environments.compiling(plan.key, "/o", 1)
    subprocess.run(compiling.argv, check=True)
    assert list(walled.environments.prefix(plan.key).rglob("evil.*.pyc"))
    assert not (walled.settings.root / "pth").exists()


def test_built_again_from_its_lock_without_the_source(walled: Site) -> None:
    plan = walled.plan()
    assert walled.build(plan)[0] == 0
    shutil.rmtree(walled.environments.prefix(plan.key))
    (walled.links / "evil-1.0.tar.gz").unlink()
    code, log = walled.build(plan)
    assert code == 0, log
    assert walled.evidence(plan)["secret"] == "refused"


def test_a_package_whose_wheels_are_not_wanted_is_built_behind_walls(
    walled: Site, wheel: Callable[..., Path], wheels: Path
) -> None:
    shutil.move(wheel("evil", "1.0"), walled.links)
    plan = walled.plan("--no-index\n--no-binary evil\nevil==1.0")
    code, log = walled.build(plan)
    assert code == 0, log
    assert walled.evidence(plan)["secret"] == "refused"


def test_an_option_inside_of_another_opens_nothing(walled: Site) -> None:
    plan = walled.plan("--no-index\n--find-links '/usr --no-binary evil'\nevil==1.0")
    secret = walled.settings.root / "read"
    walled.source(
        BACKEND.replace("    return found", f"    tried(lambda: open({str(secret)!r}, 'w'))\n    return found")
    )
    walled.build(plan)
    assert not secret.exists()


def test_versions_that_the_code_of_a_source_wrote_are_no_instructions(tmp_path: Path) -> None:
    """Where it is of the same user as uv it can write what uv seems to have answered."""
    site = Site(tmp_path, "root")
    site.source(BACKEND.replace("    return found", f"{SPEAKING}    return found"))
    plan = site.plan()
    code, log = site.build(plan)
    assert code == 1 and "cannot be used: '-r /etc/passwd'" in site.environments.failure(plan.key), log


def test_a_link_in_place_of_a_wheel_leads_nowhere(walled: Site) -> None:
    link = 'os.symlink(f"{ROOT}/secrets/signing.pem", f"../../{NAME}")'
    walled.source(BACKEND.replace("    return found", f"    tried(lambda: {link})\n    return found"))
    plan = walled.plan()
    code, log = walled.build(plan)
    assert code == 1 and "symbolic links" in walled.environments.failure(plan.key), log
    assert not any(one.read_bytes() == b"KEY" for one in walled.layout.wheels(plan.key).iterdir())


def test_without_the_walls_that_were_given_nothing_runs(walled: Site) -> None:
    plan = walled.plan()
    task = walled.environments.task(plan, "/o", 1)
    broken = json.dumps({"level": "walls", "readable": ["/nowhere/at/all"]})
    ran = subprocess.run(task.argv, env={**task.variables, WALLS: broken}, capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and "No walls could be built" in ran.stdout + ran.stderr


def test_the_code_of_a_source_dies_with_its_build(walled: Site) -> None:
    walled.source(BACKEND.replace("    return found", "    import time\n    time.sleep(120)\n    return found"))
    plan = walled.plan()
    task = Walling(walled.settings).around(walled.environments.task(plan, "/o", 1))
    scratch = walled.layout.scratch(plan.key)
    with subprocess.Popen(task.argv, env=task.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as build:
        wait_until(lambda: len(running(scratch)) >= 3)  # the walls' builder, uv, and the interpreter of the backend
        build.kill()
    wait_until(lambda: not running(scratch))


def test_one_that_leaves_folders_that_cannot_be_written_is_built_again(walled: Site) -> None:
    walled.source(BACKEND.replace("    return found", "    tried(lambda: os.mkdir('closed', 0o500))\n    return found"))
    plan = walled.plan()
    for _ in range(2):
        shutil.rmtree(walled.environments.prefix(plan.key), ignore_errors=True)
        shutil.rmtree(walled.layout.wheels(plan.key), ignore_errors=True)
        assert walled.build(plan)[0] == 0
        assert not walled.layout.scratch(plan.key).exists()


def running(folder: Path) -> list[str]:
    """The command lines of processes that speak of `folder`, the one that builds the walls first."""
    found: list[str] = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = one.read_bytes().decode(errors="replace")
            found += [text] if str(folder) in text else []
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
