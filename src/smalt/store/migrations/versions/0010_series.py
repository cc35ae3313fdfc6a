"""Numbers over time: series and their roll-ups."""

from alembic import op

from smalt.store.tables import rollup, series, watermark

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for table in (series, rollup, watermark):
        table.create(op.get_bind(), checkfirst=True)
