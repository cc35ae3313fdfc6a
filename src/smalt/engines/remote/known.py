"""The machines as the database knows them: by their tokens, by their names, and what each was given."""

from __future__ import annotations

from smalt.arm.errors import ArmError
from smalt.store import node_environments, node_tasks, nodes
from smalt.store.database import Database
from smalt.store.node_tasks import NodeTask
from smalt.store.nodes import Machine


class Known:
    def __init__(self, database: Database) -> None:
        self._database = database

    def with_token(self, token: str) -> Machine:
        """Whose token it is. Raises ArmError(401)."""
        with self._database.read() as connection:
            found = nodes.with_token(connection, token)
        if found is None:
            raise ArmError(
                401, "InvalidNodeToken", "This token is of no node: it was removed, or its file is another's."
            )
        return found

    def named(self, name: str) -> Machine | None:
        with self._database.read() as connection:
            return nodes.get(connection, name)

    def tasks(self, machine: Machine) -> list[NodeTask]:
        """Those for which it may read and write blobs now."""
        with self._database.read() as connection:
            rows = node_tasks.of_node(connection, machine.name)
        return [one for one in rows if not one.ended and not one.removing]

    def uses(self, machine: Machine, environment: str) -> bool:
        """Whether it was told to have this environment, at any time."""
        with self._database.read() as connection:
            return node_environments.has(connection, machine.name, environment)
