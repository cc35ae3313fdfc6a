"""Leases, index tags and snapshots of blobs."""

from alembic import op

from smalt.store.tables import blob_lease, blob_snapshot, blob_tag

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    for table in (blob_lease, blob_tag, blob_snapshot):
        table.create(op.get_bind(), checkfirst=True)
