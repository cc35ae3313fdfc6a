"""Machines that are nodes of clusters, and the tasks that were given to them."""

import sqlalchemy as sa
from alembic import op

from smalt.store.tables import node, node_task

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    bind = op.get_bind()
    node.create(bind, checkfirst=True)
    node_task.create(bind, checkfirst=True)
    if "machine" not in {column["name"] for column in sa.inspect(bind).get_columns("allocation")}:
        op.add_column("allocation", sa.Column("machine", sa.Text))
