"""Experiments take turns in the queue; nodes say until when they are taken, and count for quotas."""

import sqlalchemy as sa
from alembic import op

from smalt.store.tables import quota, turn

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    bind = op.get_bind()
    quota.create(bind, checkfirst=True)
    turn.create(bind, checkfirst=True)
    if "turn" in {column["name"] for column in sa.inspect(bind).get_columns("queue")}:
        return  # a database of an older revision that was made by today's tables
    op.add_column("queue", sa.Column("share", sa.Text, nullable=False, server_default=""))
    op.add_column("queue", sa.Column("turn", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column("queue", sa.Column("limit_s", sa.Double, nullable=False, server_default=sa.text("0")))
    op.add_column("queue", sa.Column("workspace", sa.Text, nullable=False, server_default=""))
    op.add_column("queue", sa.Column("family", sa.Text, nullable=False, server_default=""))
    op.add_column("queue", sa.Column("lacks_quota", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("allocation", sa.Column("until", sa.Double))
    op.add_column("allocation", sa.Column("family", sa.Text))
    op.add_column("allocation", sa.Column("cores", sa.Integer))
    op.drop_index("queue_order", "queue")
    down = sa.text("rank DESC")
    op.create_index("queue_order", "queue", ["compute_id", "lacks_quota", down, "turn", "since", "owner"])
    op.create_index("queue_places", "queue", ["compute_id", "rank", "turn", "since", "owner"])
    op.create_index("queue_share", "queue", ["compute_id", "share", "rank", "since"])
    op.create_index("queue_quota", "queue", ["workspace", "family", "lacks_quota", down, "since"])
