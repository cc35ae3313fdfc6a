"""Jobs that have ended keep nothing of what their nodes knew each other by: sealed, or in the status, as once was."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_ENDED = "kind = 'workspaces/jobs' AND state IN ('Completed', 'Failed', 'Canceled')"


def upgrade() -> None:
    connection = op.get_bind()
    jobs = f"SELECT id FROM resource WHERE {_ENDED}"
    op.execute(sa.text(f"DELETE FROM secret WHERE name IN ('nodes', 'parallel') AND resource_id IN ({jobs})"))
    query = sa.text(f"SELECT id, status FROM resource WHERE {_ENDED} AND status LIKE '%\"secret\"%'")
    for id_, status in connection.execute(query).all():
        left = {name: value for name, value in json.loads(status).items() if name != "secret"}
        update = sa.text("UPDATE resource SET status = :status WHERE id = :id")
        connection.execute(update, {"status": json.dumps(left), "id": id_})
