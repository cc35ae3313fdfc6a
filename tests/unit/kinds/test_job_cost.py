"""What one command job costs in the database, from its PUT to its end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from fakes.jobs import status, submit
from fakes.platform import Harness

MOST = 16


def test_a_job_takes_few_write_transactions(harness: Harness) -> None:
    writes: list[str] = []

    def begun(connection: Any) -> None:
        if connection.get_execution_options().get("smalt_write"):
            writes.append("write")

    event.listen(harness.database._engine, "begin", begun)  # pyright: ignore[reportPrivateUsage]
    submit(harness)
    harness.settle()
    (name,) = harness.engine.starts
    harness.engine.start(name)
    harness.settle()
    harness.engine.finish(name, 0)
    harness.settle()
    assert status(harness) == "Completed"
    assert len(writes) <= MOST, f"{len(writes)} write transactions"
