"""What came of what, and how far that was told elsewhere.

The rows that there are get their edges while the platform runs (`kinds/jobs/earlier.py`).
"""

from alembic import op

from smalt.store.lineage_tables import delivery, departed, lineage, written_place

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    for table in (lineage, departed, written_place, delivery):
        table.create(op.get_bind(), checkfirst=True)
