"""Rows say when they came to their end; allocations hold ports.

What is below a row is found by whether it is being deleted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("resource")}
    if "ended_at" in columns:  # a database of 0001 that was made by today's tables
        return
    op.add_column("resource", sa.Column("ended_at", sa.Double))
    op.execute("UPDATE resource SET ended_at = changed_at WHERE due_at IS NULL")
    op.add_column("allocation", sa.Column("ports", sa.Integer))
    op.drop_index("resource_parent", "resource")
    op.create_index("resource_parent", "resource", ["parent", "deleting"])
