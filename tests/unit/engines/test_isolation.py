"""Which walls the engine gives to a task, for machines that allow all, some and none of them; GPUs of a fake driver."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from smalt.agent.machine import gpu_devices, hops, interpreter
from smalt.agent.wire import TaskSpec
from smalt.engines.local import gpus, isolation
from smalt.engines.local.isolation import Trial, Walling, user_of
from smalt.settings import Settings

WORKSPACE = "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"
FIRST, SECOND = "GPU-11111111-2222-3333-4444-555555555555", "GPU-99999999-2222-3333-4444-555555555555"


def walling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Trial, **told: Any) -> Walling:
    monkeypatch.setattr(isolation, "try_walls", lambda root, asked: found)
    return Walling(Settings(tmp_path, **told))


@pytest.mark.parametrize(
    ("asked", "found", "level"),
    [
        ("auto", Trial(walls=True, owners=True), "walls"),
        ("auto", Trial(walls=True, reason="no idmapped mounts here"), "walls"),
        ("auto", Trial(files=True, reason="refused"), "files"),
        ("auto", Trial(reason="refused"), "none"),
        ("network", Trial(walls=True, network=True), "network"),
        ("network", Trial(walls=True, reason="refused"), "none"),
        ("network", Trial(files=True), "none"),
        ("files", Trial(files=True), "files"),
        ("files", Trial(), "none"),
        ("off", Trial(walls=True), "off"),
    ],
)
def test_the_level_is_what_was_asked_for_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, found: Trial, level: str
) -> None:
    """Never a weaker one in its place, but for `auto`."""
    one = walling(tmp_path, monkeypatch, found, isolation=asked)
    assert one.isolation().level == level
    assert one.isolation().reason or level in ("walls", "network")
    walls = one.around(TaskSpec("t", "/o", workspace=WORKSPACE)).walls
    assert (walls.level if walls else level) == level


def test_the_platforms_own_work_has_no_walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert walling(tmp_path, monkeypatch, Trial(walls=True)).around(TaskSpec("build", "/o")).walls is None


def test_each_workspace_has_its_own_user_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = walling(tmp_path, monkeypatch, Trial(walls=True, owners=True))
    mine, other = (one.around(TaskSpec("t", "/o", workspace=WORKSPACE + end)).walls for end in ("", "2"))
    assert mine and other and mine.user != other.user and mine.home != other.home
    assert 61184 <= user_of(WORKSPACE) < 65280
    assert str(tmp_path) in mine.hidden and any("bundle.pem" in path for path in mine.readable)


def test_where_files_cannot_seem_to_be_anothers_no_user_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walls = walling(tmp_path, monkeypatch, Trial(walls=True)).around(TaskSpec("t", "/o", workspace=WORKSPACE)).walls
    assert walls and walls.user == 0


def test_in_its_own_network_the_platform_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = walling(
        tmp_path, monkeypatch, Trial(walls=True, network=True), isolation="network", host="ml.example", port=9443
    )
    walls = one.around(TaskSpec("t", "/o", workspace=WORKSPACE, hosts=["node-0"])).walls
    assert walls and (walls.hosts, walls.port) == (["node-0", "ml.example"], 9443)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """Two GPUs, whose order on the bus is not that of their minor numbers."""
    for bus, uuid, minor in (("0000:81:00.0", SECOND, 0), ("0000:01:00.0", FIRST, 1)):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
        (tmp_path / "gpus" / bus / "information").write_text(
            f"Model: \t\t NVIDIA H100\nIRQ:   \t\t 64\nGPU UUID: \t {uuid}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
        )
    return tmp_path / "gpus"


def test_gpus_are_counted_by_bus(driver: Path) -> None:
    assert [(one.uuid, one.minor) for one in gpus.machine_gpus(driver)] == [(FIRST, 1), (SECOND, 0)]
    assert gpus.machine_gpus(driver / "none") == []


def test_a_task_sees_its_gpus_by_uuid_and_opens_no_other(
    tmp_path: Path, driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "machine_gpus", lambda: gpus.machine_gpus(driver))
    one = walling(tmp_path, monkeypatch, Trial(walls=True))
    task = one.around(TaskSpec("t", "/o", workspace=WORKSPACE, gpus=[0]))
    assert task.walls and task.walls.gpus == [1] and task.variables["CUDA_VISIBLE_DEVICES"] == FIRST
    none = one.around(TaskSpec("t", "/o", workspace=WORKSPACE, gpus=[]))
    assert none.walls and none.walls.gpus == [] and none.variables["CUDA_VISIBLE_DEVICES"] == ""
    everything = one.around(TaskSpec("t", "/o", workspace=WORKSPACE))
    assert everything.walls and everything.walls.gpus is None and "CUDA_VISIBLE_DEVICES" not in everything.variables
    own = one.around(TaskSpec("t", "/o", workspace=WORKSPACE, gpus=[0], variables={"CUDA_VISIBLE_DEVICES": "7"}))
    assert own.variables["CUDA_VISIBLE_DEVICES"] == "7"


def test_a_driver_that_does_not_tell_uuids_leaves_indices(
    tmp_path: Path, driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in driver.glob("*/information"):
        one.write_text(one.read_text().replace(FIRST, "GPU-????????-????").replace(SECOND, "GPU-????????-????"))
    monkeypatch.setattr(isolation, "machine_gpus", lambda: gpus.machine_gpus(driver))
    task = walling(tmp_path, monkeypatch, Trial(walls=True)).around(TaskSpec("t", "/o", workspace=WORKSPACE, gpus=[1]))
    assert task.walls and task.walls.gpus == [0] and task.variables["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_node_with_some_of_the_gpus_counts_them_from_zero_and_opens_no_other(
    tmp_path: Path, driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As several nodes of a Ray cluster on one machine have them."""
    monkeypatch.setattr(isolation, "machine_gpus", lambda: gpus.machine_gpus(driver))
    monkeypatch.setattr(isolation, "try_walls", lambda root, asked: Trial(walls=True))
    one = isolation.Walling(Settings(tmp_path), own=gpus.chosen(SECOND, 2, driver))
    for asked in ([0], None):
        task = one.around(TaskSpec("t", "/o", workspace=WORKSPACE, gpus=asked))
        assert task.walls and task.walls.gpus == [0] and task.variables["CUDA_VISIBLE_DEVICES"] == SECOND
    none = isolation.Walling(Settings(tmp_path), own=[]).around(TaskSpec("t", "/o", workspace=WORKSPACE))
    assert none.walls and none.walls.gpus == [] and none.variables["CUDA_VISIBLE_DEVICES"] == ""


def test_a_trial_that_could_not_be_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = subprocess.TimeoutExpired("trial", 1)
    made: list[Any] = [slow, subprocess.CompletedProcess([], 0, '{"walls": true}'), slow]

    def run(*_: Any, **__: Any) -> Any:
        found = made.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(isolation.subprocess, "run", run)
    one = Walling(Settings(tmp_path))
    assert one.isolation().level == "none"
    assert one.isolation().level == "none", "who asks next does not wait for it as long"
    monkeypatch.setattr(isolation, "_AGAIN_S", 0.0)
    one = Walling(Settings(tmp_path))
    made.insert(0, slow)
    assert one.isolation().level == "none"
    assert one.isolation().level == "walls"
    assert one.isolation().level == "walls" and made == [slow], "one that was made is remembered"


@pytest.mark.parametrize("wrong", ["2", "0,0", "GPU-1", "-1", "all"])
def test_gpus_that_are_not_there_are_said(driver: Path, wrong: str) -> None:
    assert gpus.chosen("1, 0", 2, driver) == [1, 0] and gpus.chosen("", 2, driver) == []
    with pytest.raises(ValueError, match=r"of the 2 GPUs of this machine|named twice"):
        gpus.chosen(wrong, 2, driver)


def test_devices_of_gpus_that_are_bound(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    (tmp_path / "nvidia-caps").mkdir()
    (tmp_path / "nvidia-caps" / "nvidia-cap1").touch()
    shared = ["nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"]
    assert gpu_devices([1], tmp_path) == ["nvidia1", *shared]
    assert gpu_devices(None, tmp_path) == ["nvidia0", "nvidia1", *shared]
    assert gpu_devices([], tmp_path) == []
    assert gpu_devices(None, tmp_path / "none") == []


def test_every_link_on_the_way_is_found(tmp_path: Path) -> None:
    real = tmp_path / "versions" / "3.11.9" / "bin"
    real.mkdir(parents=True)
    (real / "python3.11").touch()
    (real / "python").symlink_to("python3.11")
    (tmp_path / "versions" / "3.11").symlink_to("3.11.9")
    (tmp_path / "current").symlink_to(tmp_path / "versions" / "3.11")
    links, found = hops(tmp_path / "current" / "bin" / "python")
    assert found == str(real / "python3.11")
    assert set(links) == {str(tmp_path / "current"), str(tmp_path / "versions/3.11"), str(real / "python")}
    assert interpreter(tmp_path / "current/bin/python", [])[1] == str(tmp_path / "versions" / "3.11.9")
    assert interpreter(tmp_path / "current/bin/python", [str(tmp_path)])[1] == "", "the platform's own folders never"
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError):
        hops(tmp_path / "round")
