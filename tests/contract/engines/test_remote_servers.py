"""Nodes that dial in to one of several servers, or to such as could not write."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from fakes.dialled import COMPUTE, begun
from smalt.agent.wire import Outcome, Phase
from smalt.engines.remote import RemoteEngine
from smalt.store import nodes


def seen(remote: Any, state: str, ago_s: float) -> None:
    with remote.dialled.database.write() as connection:
        nodes.note(connection, remote.dialled.node, state=state, seen_at=time.time() - ago_s)


def test_a_node_that_no_server_sees_is_silent(remote: Any, monkeypatch: Any) -> None:
    """Its server could not write that the line was cut, or was killed."""
    remote.dialled.stop_node()
    remote.dialled.until(lambda: remote.dialled.machine().state == nodes.SILENT)
    seen(remote, nodes.CONNECTED, 100)
    remote.dialled.remote._note_the_unseen()
    assert remote.dialled.machine().connected, "another server may have heard it a minute ago"
    remote.changes.owners.clear()
    seen(remote, nodes.CONNECTED, 1000)
    remote.dialled.remote._look_again.set()
    remote.changes.told(COMPUTE)
    assert remote.dialled.machine().state == nodes.SILENT


def test_another_servers_start_takes_no_node_away(remote: Any) -> None:
    begun(remote, "one")
    other = RemoteEngine(remote.dialled.database, time.time, 300)
    other.watch(lambda owner: None)
    other._note_the_unseen()
    assert remote.dialled.machine().connected
    other.close()


def test_another_servers_node_is_not_lost(remote: Any) -> None:
    begun(remote, "one")
    other = RemoteEngine(remote.dialled.database, time.time, 300)
    other._started -= 1000  # it was there all the time, and heard nothing
    other._lose_the_silent()
    assert other.observe("one").phase is Phase.RUNNING
    seen(remote, nodes.CONNECTED, 1000)
    assert other.observe("one").outcome is Outcome.LOST


def test_who_counts_as_silent_in_error_is_connected_again(remote: Any) -> None:
    remote.changes.owners.clear()
    seen(remote, nodes.SILENT, 1000)
    remote.changes.told(COMPUTE)
    machine = remote.dialled.machine()
    assert machine.connected and time.time() - machine.seen_at < 100


def test_what_runs_here_is_stopped_without_a_write(remote: Any, monkeypatch: Any) -> None:
    remote.engine.ensure(replace(remote.task("here"), node=""))
    writes = list[str]()
    monkeypatch.setattr(remote.dialled.remote._database, "write", lambda: writes.append("one"))
    remote.dialled.remote.stop("here", 1)
    remote.dialled.remote.remove("here")
    monkeypatch.undo()
    assert not writes
    remote.engine.remove("here")


def test_only_a_node_that_is_not_there_is_watched_at_once(remote: Any, monkeypatch: Any) -> None:
    woken = list[str]()
    monkeypatch.setattr(remote.dialled.remote._look_again, "set", lambda: woken.append("now"))
    remote.engine.ensure(remote.task("one", command="true"))
    assert not woken
    monkeypatch.undo()
