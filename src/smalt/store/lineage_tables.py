"""The tables of lineage, and how far the feed was told elsewhere; as `tables.py`."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Table, Text

from smalt.store.tables import SORTED, metadata

lineage = Table(  # what came of what, from source to target: `store/lineage.py`
    "lineage",
    metadata,
    Column("source", Text, primary_key=True),  # lowered ids, each with the time at which that resource was made
    Column("source_at", Double, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("target_at", Double, primary_key=True),
    Column("what", Text, primary_key=True),
    Column("name", Text, primary_key=True),  # of the input or output
    Column("at", Double, nullable=False),
    Column("until", Double),  # a deployment has served the model so long; NULL: it does
    Index("lineage_target", "target"),
    sqlite_with_rowid=False,
)

departed = Table(  # resources of which lineage tells and that were deleted
    "departed",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", Double, primary_key=True),
    Column("gone_at", Double, nullable=False),
    Column("look_at", Double, nullable=False),  # then it is forgotten, unless something that is left came of it
    Column("kind", Text, nullable=False),
    Column("document", Text, nullable=False),  # JSON: what is kept of the row
    Index("departed_look", "look_at"),
)

written_place = Table(  # which job began last to write to a place that its name does not tell
    "written_place",
    metadata,
    Column("place", SORTED, primary_key=True),  # account/container/path, without a slash at the end
    Column("job", Text, nullable=False),
    Column("job_at", Double, nullable=False),
    Column("output", Text, nullable=False),
    Index("written_place_job", "job"),
)

delivery = Table(  # how far the feed was told to somebody elsewhere, and which server tells it
    "delivery",
    metadata,
    Column("name", Text, primary_key=True),
    Column("cursor", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("until", Double, nullable=False),
)
