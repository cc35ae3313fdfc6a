"""Certificates that service principals sign in with."""

from alembic import op

from smalt.store.tables import identity_certificate

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    identity_certificate.create(op.get_bind(), checkfirst=True)
