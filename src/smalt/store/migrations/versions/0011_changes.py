"""The feed of changes takes the place of events, and keeps them."""

import sqlalchemy as sa
from alembic import op

from smalt.store.changes import KEPT_S, What, scope_of
from smalt.store.tables import change

revision = "0011"
down_revision = "0010"
_AT_ONCE = 1000
_WHATS = {"created": What.CREATED, "delete requested": What.DELETING, "gone": What.DELETED}


def upgrade() -> None:
    connection = op.get_bind()
    change.create(connection, checkfirst=True)
    if "event" not in sa.inspect(connection).get_table_names():
        return
    query = sa.text(
        "SELECT e.*, coalesce(r.kind, '') AS kind FROM event e LEFT JOIN resource r ON r.id = e.resource_id"
        " WHERE e.seq > :last ORDER BY e.seq LIMIT :most"
    )
    last = -1
    while old := connection.execute(query, {"last": last, "most": _AT_ONCE}).mappings().all():
        connection.execute(change.insert(), [_change(one) for one in old])
        last = old[-1]["seq"]
    op.drop_table("event")


def _change(old: sa.RowMapping) -> dict[str, object]:
    """`xid` 0: it was there before any reader."""
    on_postgres = op.get_bind().dialect.name == "postgresql"
    return {
        "at": old["at"],
        "scope": scope_of(old["resource_id"]),
        "kind": old["kind"],
        "resource_id": old["resource_id"],
        "generation": None,
        "what": str(_WHATS.get(old["reason"], What.STATE)),
        "before": old["before"],
        "after": old["after"],
        "reason": old["reason"],
        "actor": "",
        "request_id": "",
        "expires_at": old["at"] + KEPT_S,
        "xid": 0 if on_postgres else None,
    }
