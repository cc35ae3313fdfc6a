"""Which environments each machine was told to have."""

from alembic import op

from smalt.store.node_environments import node_environment

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    node_environment.create(op.get_bind(), checkfirst=True)
