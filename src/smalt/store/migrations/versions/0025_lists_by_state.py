"""Lists of jobs by their status look at those of that status alone: what runs, what failed."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0022"


def upgrade() -> None:
    if "resource_state" not in {one["name"] for one in sa.inspect(op.get_bind()).get_indexes("resource")}:
        op.create_index("resource_state", "resource", ["kind", "parent", "archived", "state", "created_at"])
