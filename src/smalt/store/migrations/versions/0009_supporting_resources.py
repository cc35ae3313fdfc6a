"""What stands beside a workspace are rows now: every workspace looks at itself once, and makes its own."""

from alembic import op
from sqlalchemy import text

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(text("UPDATE resource SET due_at = 0 WHERE kind = 'workspaces' AND due_at IS NULL"))
