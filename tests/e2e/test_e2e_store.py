"""`smalt up --store s3://…`: all blobs are there, whoever writes them, and nobody sees what opens it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from live.clients import Client, client_python
from live.platform import HOME, Platform, eventually
from live.processes import command_of
from live.s3 import BUCKET, S3, SECRET, s3_server

pytestmark = pytest.mark.e2e

STORE = f"s3://{BUCKET}/of/this-platform"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as one, pytest.MonkeyPatch.context() as patch:
        for name, value in one.variables.items():
            patch.setenv(name, value)
        yield one


@pytest.fixture(scope="module")
def platform(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("on-s3")).started("--store", STORE) as one:
        yield one


def test_the_official_clients_and_a_restart(platform: Platform, scripts: Path) -> None:
    def run(what: str) -> str:
        return Client(client_python(), platform.variables).run(scripts / "store.py", what)

    assert run("write").rstrip().endswith("PASSED")
    platform.down()
    platform.up()
    assert run("read").rstrip().endswith("PASSED")
    left = [path for path in platform.files("blobs") if path.parent != platform.root / "blobs"]
    assert not left, left


def test_stock_mlflow_routes(platform: Platform) -> None:
    """Lists, ranges and deletions as MLflow's own client asks for them."""
    route = f"/mlflow/v1.0{HOME}/api/2.0/mlflow-artifacts/artifacts"
    eventually(lambda: platform.call("GET", route).status_code == 200, "artifacts", pause_s=0.2)
    for name in ("7/r/artifacts/a/1.txt", "7/r/artifacts/a/2.txt", "7/r/artifacts/b.txt"):
        assert platform.call("PUT", f"{route}/{name}", 123456789).status_code == 200
    listed = platform.call("GET", f"{route}?path=7/r/artifacts").json()["files"]
    assert listed == [{"path": "a", "is_dir": True}, {"path": "b.txt", "is_dir": False, "file_size": 9}]
    part = platform.call("GET", f"{route}/7/r/artifacts/b.txt", headers={"Range": "bytes=3-5"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"456", "bytes 3-5/9")
    assert platform.call("GET", f"{route}/7/r/artifacts/a").status_code == 400
    assert platform.call("GET", f"{route}/7/r/artifacts/nope").status_code == 404
    assert platform.call("DELETE", f"{route}/7/r/artifacts/a").status_code == 200
    assert [one["path"] for one in platform.call("GET", f"{route}?path=7/r/artifacts").json()["files"]] == ["b.txt"]


def test_status_and_doctor_name_the_store(platform: Platform) -> None:
    assert platform.status()["store"] == STORE
    found = {one["check"]: one for one in json.loads(platform.smalt("doctor", "--json").stdout)}["store"]
    assert found["state"] == "ok" and STORE in found["fact"], found


def test_nobody_sees_what_opens_the_store(platform: Platform) -> None:
    for process in platform.processes():
        assert SECRET not in command_of(process.pid)
    assert SECRET not in " ".join(psutil.Process(platform.pid("envoy")).environ().values())
    for path in (*platform.root.glob("logs/*"), *platform.root.glob("*.json"), *platform.root.glob("run/*.json")):
        assert SECRET not in path.read_text(errors="replace"), path


def test_another_store_is_refused(platform: Platform, tmp_path: Path) -> None:
    platform.down()
    refused = platform.smalt("up", "--store", str(tmp_path / "elsewhere"), "--detach")
    assert refused.returncode == 1 and "would not be found" in refused.stderr and STORE in refused.stderr
    platform.up()


def test_a_store_that_cannot_be_used_is_one_line(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Platform(tmp_path / "root")

    def said(store: str) -> str:
        done = other.smalt("up", "--port", str(other.port), "--store", store, "--detach")
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    assert "no such bucket" in said("s3://nowhere/at-all")
    assert "store_url must be" in said("s3://bucket/with?secret=word") and "word" not in said("s3://b?secret=word")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "refused" in said(STORE)
    (tmp_path / "file").write_text("")
    assert "is not a folder" in said(str(tmp_path / "file"))


def test_a_folder_elsewhere_has_the_blobs(tmp_path: Path) -> None:
    place = tmp_path / "another disk"
    with Platform(tmp_path / "root").started("--store", os.path.relpath(place)) as platform:
        assert platform.status()["store"] == str(place)
        assert platform.submit("said", "echo here").status_code == 201
        platform.wait_for("said", "Completed", timeout_s=240)
        assert list(place.glob("*/azureml/ExperimentRun/dcid.said/user_logs/std_log.txt"))
        assert not (platform.root / "blobs").exists()


def test_the_roots_blobs_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    root, disk = tmp_path / "root", tmp_path / "disk"
    for folder in (root, disk):
        folder.mkdir(mode=0o700)
    (root / "blobs").symlink_to(disk)
    with Platform(root).started() as platform:
        assert platform.submit("said", "echo here > outputs/x").status_code == 201
        platform.wait_for("said", "Completed", timeout_s=240)
        assert next(disk.glob("*/azureml/ExperimentRun/dcid.said/outputs/x")).read_text() == "here\n"
