"""Several servers on one database: which they are, and whose the tasks of a row are."""

import sqlalchemy as sa
from alembic import op

from smalt.store.tables import server

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    bind = op.get_bind()
    server.create(bind, checkfirst=True)
    for table, column in (("resource", "home"), ("node", "server")):
        if column not in {one["name"] for one in sa.inspect(bind).get_columns(table)}:
            op.add_column(table, sa.Column(column, sa.Text))
