"""What a server tells a node; see `messages.py` for their shapes."""

from __future__ import annotations

from dataclasses import replace

from smalt.agent.wire import TaskSpec
from smalt.engines.remote.messages import Order


def ensure_order(id_: str, task: TaskSpec) -> Order:
    return {"ensure": replace(task, name=id_, node="").to_json(), "id": id_}


def stop_order(id_: str, grace_s: float) -> Order:
    return {"stop": id_, "grace_s": grace_s}


def remove_order(id_: str) -> Order:
    return {"remove": id_}
