"""What a node cannot read of one task is that task's alone: the node is heard, and so is what else it runs."""

from __future__ import annotations

from typing import Any

from fakes.dialled import begun
from smalt.agent.wire import Outcome
from smalt.engines.remote.messages import Reports


def test_a_task_whose_state_is_torn_is_lost_and_keeps_no_other_from_being_told(remote: Any) -> None:
    begun(remote, "one")
    remote.engine.ensure(remote.task("two"))
    remote.dialled.until(lambda: remote.started() == 2)
    remote.dialled.stop_node()
    remote.finish("one", 0)
    remote.dialled.until(lambda: not remote.processes("one"))
    settings = remote.dialled.settings("s")
    (folder,) = settings.tasks.glob("one.*")
    (folder / "state.json").write_text("{")  # as a machine leaves it that lost its power
    grave = settings.tasks / ".trash" / "three.0a1b"
    grave.mkdir()
    (grave / "state.json").write_text("[]")
    remote.dialled.start_node()
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.LOST and "vanished" in state.error
    remote.engine.remove("one")
    remote.dialled.until(lambda: not folder.exists() and not grave.exists())
    remote.finish("two", 0)
    assert remote.changes.ended("two").exit_code == 0


def test_a_node_is_heard_though_what_its_tasks_use_cannot_be_read(remote: Any, monkeypatch: Any) -> None:
    begun(remote, "one")
    heard: list[Reports] = []
    report = remote.dialled.remote.report

    def noted(machine: Any, session: str, reports: Reports) -> list[str]:
        heard.append(reports)
        return report(machine, session, reports)

    monkeypatch.setattr(remote.dialled.remote, "report", noted)
    monkeypatch.setattr(remote.dialled.service._engine, "usage", lambda: [][0])
    remote.dialled.until(lambda: [one for one in heard if one.usage is None and not one.said])
    remote.finish("one", 0)
    assert remote.changes.ended("one").exit_code == 0


def test_a_task_that_its_engine_cannot_understand_is_lost_and_keeps_no_other_from_being_told(
    remote: Any, monkeypatch: Any
) -> None:
    begun(remote, "one")
    remote.engine.ensure(remote.task("two"))
    remote.changes.running("two")
    service = remote.dialled.service
    observe = service._engine.observe

    def fails(name: str) -> Any:
        if name.startswith("one."):
            raise KeyError("of another version")
        return observe(name)

    monkeypatch.setattr(service._engine, "observe", fails)
    service._owner_changed("/owner/one")
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.LOST and "of another version" in state.error
    remote.finish("two", 0)
    assert remote.changes.ended("two").exit_code == 0
