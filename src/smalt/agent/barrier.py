"""What stands between a task's process and the machine, by the level that its node decided."""

from __future__ import annotations

from smalt.agent.landlock import Fence
from smalt.agent.mounts import Namespace
from smalt.agent.walls import Walls
from smalt.agent.wire import WallsSpec

Barrier = Namespace | Walls | Fence


def barrier(walls: WallsSpec | None, shm_bytes: int = 0) -> Barrier:
    """Without walls a task runs in the open, with mounts that are its own. `shm_bytes`: see `Walls`."""
    if walls is None:
        return Namespace()
    return Fence(walls) if walls.level == "files" else Walls(walls, shm_bytes)
