"""Builds of environments are looked at once a day: also those that an older version had done with."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(
        "UPDATE resource SET due_at = created_at"
        " WHERE kind = 'environmentbuilds' AND state = 'Succeeded' AND due_at IS NULL"
    )
