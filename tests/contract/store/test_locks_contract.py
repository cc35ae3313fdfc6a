"""Which locks count for a write and a delete, on both databases: their order of texts differs, names below do not."""

from __future__ import annotations

import pytest

from smalt.arm import locks
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.store import resources
from smalt.store.database import Database

GROUP = "/subscriptions/s/resourceGroups/g"
ML = "/providers/Microsoft.MachineLearningServices"
HOME = f"{GROUP}{ML}/workspaces/w"


def lock(database: Database, scope: str, level: str) -> None:
    written = f"{scope}/providers/Microsoft.Authorization/locks/l"
    with database.write() as connection:
        resources.insert(
            connection,
            key=written.lower(),
            written=written,
            kind=locks.LOCKS,
            parent=scope.lower(),
            name="l",
            spec={},
            status={},
            state="Succeeded",
            now=1.0,
            by="ada",
            lookup=level,
        )


def refused(database: Database, scope: str) -> str:
    """w: not written, d: not deleted."""
    found = ""
    with database.read() as connection:
        for letter, check in (("w", locks.check_write), ("d", locks.check_delete)):
            try:
                check(connection, ResourceId.parse(scope))
            except ArmError:
                found += letter
    return found


@pytest.mark.parametrize("level", locks.LEVELS)
def test_locks_hold_below_and_above_and_not_beside(database: Database, level: str) -> None:
    lock(database, f"{HOME}/data/churn", level)
    within = "wd" if level == locks.READ_ONLY else "d"
    expected = {
        f"{HOME}/data/churn": within,
        f"{HOME.upper()}/DATA/CHURN/versions/1": within,
        HOME: "d",
        GROUP: "d",
        "/subscriptions/s": "d",
        f"{HOME}/data/churn2": "",
        f"{HOME}/data/churn-2": "",
        f"{HOME}/data/chur": "",
        f"{HOME}/jobs/churn": "",
        f"{HOME}2": "",
        f"{GROUP}-2": "",
        "/subscriptions/s2": "",
        f"{HOME}/data/churn/providers/Microsoft.Authorization/locks/l": "",
    }
    assert {scope: refused(database, scope) for scope in expected} == expected
