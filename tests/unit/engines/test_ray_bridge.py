"""What keeps a node going on Ray's side, and how it ends. Ray itself is not there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.util.placement_group import PlacementGroup

from smalt.engines.ray import bridge
from smalt.engines.ray.bridge import REVOKED, Node

NODE = {"name": "rays-1", "cpus": 1, "gpus": 0, "token": "secret"}


HERE = SimpleNamespace(
    get_node_id=lambda: "0123456789abcdef", get_accelerator_ids=lambda: {"GPU": ["3", "1"], "TPU": []}
)


class Side:
    """`run` stands for `smalt node run`. `removed`: groups; `ended`: how the process ended, once it did."""

    def __init__(self, folder: Path) -> None:
        self.wanted = {
            "namespace": "smalt-1",
            "version": "1",
            "folder": str(folder),
            "isolation": "off",
            "server": "s",
            "ca": "c",
        }
        self.removed: list[Any] = []
        self.ended: list[int] = []
        self.gone, self.dead = threading.Event(), threading.Event()  # one of the first, of the second
        self.run: Callable[[], int] = lambda: REVOKED

    def remove(self, group: Any) -> None:
        self.removed.append(group)
        self.gone.set()

    def exit(self, code: int) -> None:
        self.ended.append(code)
        self.dead.set()


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Side:
    one = Side(tmp_path)
    monkeypatch.setattr(bridge, "check_version", lambda wanted: None)
    monkeypatch.setattr(bridge, "FIRST_S", 0.2)
    monkeypatch.setattr(bridge, "LAST_S", 5.0)
    monkeypatch.setattr(Node, "_run", lambda node: one.run())
    monkeypatch.setattr(bridge.os, "_exit", one.exit)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: HERE)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.7")
    monkeypatch.setattr(ray.util, "get_placement_group", lambda name: name)
    monkeypatch.setattr(ray.util, "remove_placement_group", one.remove)
    return one


def test_a_node_that_is_revoked_gives_its_room_back(side: Side) -> None:
    gate = threading.Event()
    side.run = lambda: REVOKED if gate.wait(10) else 0
    node = Node(side.wanted, NODE)
    assert node._command[-4:] == ["--gpus", "3,1", "--address", "192.0.2.7"]
    gate.set()
    assert side.gone.wait(10) and side.removed == ["smalt-1/rays-1"] and not side.ended


def test_room_is_given_back_though_the_folder_cannot_be(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(root: Path) -> None:
        raise PermissionError("tasks")

    gate = threading.Event()
    side.run = lambda: REVOKED if gate.wait(10) else 0
    monkeypatch.setattr(bridge, "give_back", fails)
    node = Node(side.wanted, NODE)
    gate.set()
    node.end()
    assert side.dead.wait(10) and side.removed == ["smalt-1/rays-1"] and side.ended == [1]


def test_the_process_ends_with_the_thread_that_keeps_the_node(side: Side) -> None:
    gate = threading.Event()

    def run() -> int:
        gate.wait(10)
        raise BlockingIOError("no process more")

    side.run = run
    Node(side.wanted, NODE)
    gate.set()
    assert side.dead.wait(10) and side.ended == [1] and not side.removed


def test_a_node_that_cannot_be_started_says_why(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "FIRST_S", 10.0)  # it is over with the failure

    def run() -> int:
        raise FileNotFoundError("leash.py")

    side.run = run
    with pytest.raises(RuntimeError, match=r"FileNotFoundError: leash\.py"):
        Node(side.wanted, NODE)
    assert not side.ended, "Ray would start it again and again"


def test_a_group_is_removed_whatever_its_node_says(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "placement_group_table", lambda group: {})
    group = PlacementGroup.empty()
    with pytest.raises(KeyError):
        bridge.end("rays-1", group)
    assert side.removed == [group]
