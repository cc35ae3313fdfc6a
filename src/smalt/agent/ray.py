"""A node of a Ray cluster, by the ray of the job's environment: its `ray start`, and the command once all have joined.

Both are processes of the task, side by side (`foreman.py`): so the end of either is seen, and each has its log.
"""

from __future__ import annotations

from pathlib import Path

from smalt.agent.ranks import RankSpec, RaySpec

MOST = 36  # bytes of the way to TMPDIR: a session of Ray has its sockets 71 below it
START = Path(__file__).parent / "inject" / "ray_node.py"


def argv(spec: RaySpec, rank: RankSpec, command: list[str]) -> list[str]:
    """What the rank runs in place of `command`, a shell's: Ray, or what waits for all nodes and becomes that."""
    if rank.argv:
        return ["python", str(START), "start", *rank.argv[2:]]
    return ["python", str(START), "wait", spec.address, str(spec.nodes), *command]
