"""The first schema: what `tables.py` holds at version 0001."""

from alembic import op

from smalt.store.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
