"""Where a machine is found by the others with which it shares a job."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    if "address" not in {one["name"] for one in sa.inspect(op.get_bind()).get_columns("node")}:
        op.add_column("node", sa.Column("address", sa.Text))
