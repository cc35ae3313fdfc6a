"""All checks, in the order in which they are shown. The ids are what scripts go by: they stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from smalt.doctor import (
    clock,
    database,
    gpus,
    idmapped,
    isolation,
    level,
    limits,
    platform,
    programs,
    ray,
    storage,
    stores,
)
from smalt.doctor.finding import Finding
from smalt.doctor.machine import Machine


class Turn(Enum):
    """When a check may run: forks need a process with one thread, measurements nothing beside them."""

    FORKS = 1
    MEASURES = 2
    ANY = 3


@dataclass(frozen=True)
class Check:
    """Where a `vital` one says NO, Smalt cannot run here at all."""

    section: str
    id: str
    title: str
    look: Callable[[Machine], Finding]
    vital: bool = False
    turn: Turn = Turn.ANY


CHECKS = (
    Check("Root", "root", "folder", storage.root, vital=True),
    Check("Root", "settings", "settings", platform.settings, vital=True),
    Check("Root", "disk", "disk", storage.disk, vital=True),
    Check("Root", "file-system", "file system", storage.kind_of_file_system),
    Check("Root", "hard-links", "hard links", storage.hard_links, vital=True),
    Check("Root", "clones", "reflinks", storage.clones),
    Check("Root", "commits", "commits", database.commits, turn=Turn.MEASURES),
    Check("Root", "database", "database", database.database, vital=True),
    Check("Root", "store", "blob store", stores.store, vital=True),
    Check("Platform", "server", "server", platform.server),
    Check("Platform", "port", "port", platform.port, vital=True),
    Check("Platform", "certificates", "certificates", platform.certificates),
    Check("Platform", "trust", "trust", platform.trust),
    Check("Isolation", "isolation", "jobs", level.level),
    Check("Isolation", "namespaces.user", "user namespaces", isolation.user_namespaces, turn=Turn.FORKS),
    Check("Isolation", "namespaces.mount", "mount namespaces", isolation.mount_namespaces, turn=Turn.FORKS),
    Check("Isolation", "namespaces.pid", "pid namespaces", isolation.pid_namespaces, turn=Turn.FORKS),
    Check("Isolation", "namespaces.net", "network namespaces", isolation.network_namespaces, turn=Turn.FORKS),
    Check("Isolation", "idmapped-mounts", "idmapped mounts", idmapped.idmapped_mounts, turn=Turn.FORKS),
    Check("Isolation", "bubblewrap", "bubblewrap", isolation.bubblewrap),
    Check("Isolation", "landlock", "Landlock", isolation.landlock),
    Check("Machine", "cgroups", "cgroups", limits.cgroups),
    Check("Machine", "memory", "memory", limits.memory),
    Check("Machine", "open-files", "open files", limits.open_files),
    Check("Machine", "gpus", "GPUs", gpus.gpus),
    Check("Machine", "clock", "clock", clock.clock, turn=Turn.MEASURES),
    Check("Machine", "clock.synchronised", "synchronised", clock.synchronised),
    Check("Programs", "envoy", "Envoy", programs.envoy, vital=True),
    Check("Programs", "uv", "uv", programs.uv),
    Check("Programs", "pythons", "Pythons", programs.interpreters),
    Check("Programs", "downloads", "downloads", programs.downloads),
    Check("Programs", "containers", "containers", programs.containers),
    Check("Programs", "ray", "Ray", ray.ray),
)
