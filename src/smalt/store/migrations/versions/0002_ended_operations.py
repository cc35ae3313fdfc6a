"""Operations are found by when they ended: those that ended long ago are forgotten."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("operation_ended", "operation", ["ended_at"], if_not_exists=True)
