"""One row of the `resource` table, as it is and as it is to be; `store/resources.py` reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean

from smalt.store.document import Document
from smalt.store.tables import resource


@dataclass(frozen=True)
class Row:
    """One resource. `spec` is what the user wants (and `smalt`, a key of ours), `status` what was found."""

    id: str
    written: str
    kind: str
    parent: str
    name: str
    spec: Document
    status: Document
    state: str
    generation: int
    observed: int
    archived: bool
    lookup: str | None
    deleting: bool
    due_at: float | None
    failures: int
    lease: str | None
    lease_until: float | None
    created_at: float
    changed_at: float
    created_by: str
    changed_by: str
    ended_at: float | None
    counted: bool = False
    home: str | None = None

    @property
    def properties(self) -> Document:
        return self.spec.get("properties") or {}


_SPEC, _STATUS = (resource.c.keys().index(name) for name in ("spec", "status"))
_FLAGS = [at for at, column in enumerate(resource.c) if isinstance(column.type, Boolean)]


def read(found: Sequence[Any]) -> Row:
    """A row of the table, whose columns are the fields of `Row` in their order, with its JSON parsed."""
    values = list(found)
    values[_SPEC], values[_STATUS] = json.loads(values[_SPEC]), json.loads(values[_STATUS])
    for at in _FLAGS:
        values[at] = bool(values[at])
    return Row(*values)


@dataclass(frozen=True)
class New:
    """A row to be. `counted`: what is above keeps count of it, and is woken when it ends (`store/children.py`).

    `home`: the server that steps it, empty: any (`store/servers.py`).
    """

    key: str
    written: str
    kind: str
    parent: str
    name: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    state: str
    by: str
    due_at: float | None = None
    lookup: str | None = None
    archived: bool = False
    counted: bool = False
    home: str = ""

    def values(self, now: float) -> Document:
        return {
            "id": self.key,
            "written": self.written,
            "kind": self.kind,
            "parent": self.parent,
            "name": self.name,
            "spec": json.dumps(self.spec),
            "status": json.dumps(self.status),
            "state": self.state,
            "generation": 1,
            "observed": 0 if self.due_at is not None else 1,
            "archived": self.archived,
            "lookup": self.lookup,
            "deleting": False,
            "due_at": self.due_at,
            "failures": 0,
            "lease": None,
            "lease_until": None,
            "created_at": now,
            "changed_at": now,
            "created_by": self.by,
            "changed_by": self.by,
            "ended_at": now if self.due_at is None else None,
            "counted": self.counted,
            "home": self.home or None,
        }
