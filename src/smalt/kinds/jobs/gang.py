"""The tasks of one attempt as a gang: when it is through, and which of them was the first to fail. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from smalt.agent.wire import Outcome, Phase, TaskState


def has_failed(state: TaskState) -> bool:
    return state.phase is Phase.EXITED and not _ended_well(state)


def is_fine(states: Sequence[TaskState]) -> bool:
    """All have ended well. What only served others may end as it likes once those are through."""
    worked = [state for state in states if not state.done]
    if not all(map(_ended_well, worked)):
        return False
    through = max((state.ended_at for state in worked), default=0.0)
    return all(_ended_well(state) or state.ended_at >= through for state in states if state.done)


def needs_no_more(states: Sequence[TaskState]) -> bool:
    """What still runs of them only serves those that have ended well."""
    return all(state.done or (state.phase is Phase.EXITED and _ended_well(state)) for state in states)


def was_stopped(state: TaskState) -> bool:
    """It was told to end before it was through."""
    return state.outcome is Outcome.STOPPED and not state.done


def first_to_fail(states: Sequence[TaskState]) -> TaskState:
    """Of an attempt that failed. Those that were told to stop, or lost their peers by it, come after its cause."""
    failed = [state for state in states if not _ended_well(state)]
    own = [state for state in failed if state.outcome is not Outcome.STOPPED] or failed
    return min(own, key=lambda state: state.ended_at)


def _ended_well(state: TaskState) -> bool:
    if state.outcome is Outcome.STOPPED:
        return state.done
    return state.outcome is Outcome.EXITED and state.exit_code == 0
