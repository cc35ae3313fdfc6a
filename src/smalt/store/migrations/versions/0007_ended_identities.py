"""Who was deleted is remembered while its tokens last: the gateway checks tokens without the database."""

from alembic import op

from smalt.store.tables import ended_identity

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    ended_identity.create(op.get_bind(), checkfirst=True)
