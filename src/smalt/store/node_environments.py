"""Which environments a machine was told to have: of those it may fetch and store packs, as long as it is a node.

Also once its tasks are gone: an environment is packed when nobody waits for it any more.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Table, Text, delete, select, text

from smalt.store.lineage_tables import metadata

node_environment = Table(
    "node_environment",
    metadata,
    Column("node", Text, primary_key=True),
    Column("environment", Text, primary_key=True),  # its key
)

_GIVE = text(
    "INSERT INTO node_environment (node, environment) VALUES (:node, :environment)"
    " ON CONFLICT (node, environment) DO NOTHING"
)


def give(connection: Connection, node: str, environment: str) -> None:
    """Once more is the same. `environment` may be empty: there is none."""
    if environment:
        connection.execute(_GIVE, {"node": node, "environment": environment})


def has(connection: Connection, node: str, environment: str) -> bool:
    found = select(node_environment.c.node).where(
        node_environment.c.node == node, node_environment.c.environment == environment
    )
    return connection.execute(found).first() is not None


def forget(connection: Connection, node: str) -> None:
    connection.execute(delete(node_environment).where(node_environment.c.node == node))
