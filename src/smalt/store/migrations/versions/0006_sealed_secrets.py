"""Secrets and account keys name the key that seals them; the server seals what is there at its next start.

Account keys have an age, because the younger signs. Used login links get a table of their own: they are no secrets.
"""

from alembic import op
from sqlalchemy import Column, Double, Text, inspect, text

from smalt.store.tables import used_link

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    connection = op.get_bind()
    used_link.create(connection, checkfirst=True)
    _add("secret", Column("key_id", Text))
    _add("account", Column("key_id", Text))
    for name in ("key1_at", "key2_at"):
        if _add("account", Column(name, Double, nullable=False, server_default=text("0"))):
            op.execute(text(f"UPDATE account SET {name} = created_at"))
    op.execute(
        text(
            "INSERT INTO used_link (nonce, ends_at) SELECT name, CAST(value AS DOUBLE PRECISION) FROM secret"
            " WHERE resource_id = 'login/used' AND name NOT IN (SELECT nonce FROM used_link)"
        )
    )
    op.execute(text("DELETE FROM secret WHERE resource_id = 'login/used'"))


def _add(table: str, column: "Column[str] | Column[float]") -> bool:
    if column.name in {one["name"] for one in inspect(op.get_bind()).get_columns(table)}:
        return False
    op.add_column(table, column)
    return True
