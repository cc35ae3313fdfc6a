"""Parents count their children; allocations hold GPUs and may be reclaimed; the queue has ranks."""

import sqlalchemy as sa
from alembic import op

from smalt.store.tables import child_count

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    bind = op.get_bind()
    child_count.create(bind, checkfirst=True)
    if "counted" in {column["name"] for column in sa.inspect(bind).get_columns("resource")}:
        return  # a database of an older revision that was made by today's tables
    op.add_column("resource", _flag("counted"))
    op.add_column("allocation", sa.Column("gpus", sa.Text))
    op.add_column("allocation", _flag("preemptible"))
    op.add_column("allocation", _flag("reclaimed"))
    op.add_column("queue", sa.Column("rank", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("queue", _flag("lacks_gpus"))
    op.drop_index("queue_compute", "queue")
    op.create_index("queue_order", "queue", ["compute_id", "rank", "since"])
    _partial("allocation_gpus", "allocation", ["compute_id"], "gpus IS NOT NULL")
    _partial("queue_gpus", "queue", ["rank", "since"], "lacks_gpus")


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
