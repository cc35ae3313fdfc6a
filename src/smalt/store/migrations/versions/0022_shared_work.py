"""Which job does a piece of work that others need, too."""

from alembic import op

from smalt.store.tables import shared_work

revision = "0022"
down_revision = "0019"


def upgrade() -> None:
    shared_work.create(op.get_bind(), checkfirst=True)
