"""Environments that machines have built and packed for the others of their cluster: one row each, with its hash.

Not a resource of ARM. A row is for one cluster and one kind of machine: what a machine has made is run by those alone
that run the same jobs anyway. The row is the intent: it is written before the blob is there (`Creating`), and is the
only thing that counts, for the blob's name has the hash that is in it. What nobody has used for as long as an
environment is kept goes as that does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import INTERNAL, Kind, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import BlobFiles, BlobReader
from smalt.kinds.assets.environment_build import REMOVING, kept
from smalt.settings import PLATFORM_ACCOUNT
from smalt.store import resources
from smalt.store.database import Database
from smalt.store.resources import Exists, Lock, Row

PATH = "environmentPacks"
STORING_S = 3600.0  # that it may take
_KEY, _PLATFORM = re.compile(r"[0-9a-f]{40}"), re.compile(r"[A-Za-z0-9_.+-]{1,200}")
_BLOBS = Ref(PLATFORM_ACCOUNT, "environments", "packs/")


@dataclass(frozen=True)
class Pack:
    """`key`: of the environment; `platform`: what its files depend on besides; `compute`: lowered id of the cluster."""

    compute: str
    platform: str
    key: str

    @property
    def name(self) -> str:
        scope = hashlib.sha256(f"{self.compute}\n{self.platform}".encode()).hexdigest()[:32]
        return f"{scope}/{self.key}"

    @property
    def id(self) -> str:
        return f"/smalt/{PATH.lower()}/{self.name}"

    def check(self) -> None:
        """Raises ArmError(400)."""
        if not _KEY.fullmatch(self.key):
            raise invalid("key: an environment's, 40 hexadecimal digits.", "key")
        if not _PLATFORM.fullmatch(self.platform):
            raise invalid("platform: up to 200 letters, digits, '-', '_', '.' and '+'.", "platform")


class Packs:
    """Where they are kept; used by the machines' routes (`web/node_environments.py`)."""

    def __init__(self, database: Database, clock: Callable[[], float], files: BlobFiles) -> None:
        self._database, self._clock, self._files = database, clock, files

    def has(self, pack: Pack) -> bool:
        """Also one that is just being stored, or removed: no other is taken then."""
        return self._row(pack) is not None

    def open(self, pack: Pack) -> tuple[BlobReader, str] | None:
        """With the hash (SHA-256, hex) that all of it has to have; None: there is none."""
        with self._database.read() as connection:
            row = resources.get(connection, pack.id)
            if row is None or row.state != "Succeeded" or not _is_of(resources.get(connection, pack.compute), row):
                return None
        reader = self._files.open(Ref(*row.spec["blob"]))
        if reader is None or reader.size != row.spec["size"]:
            if reader is not None:
                reader.close()
            self.forget(pack)
            return None
        return reader, str(row.spec["sha256"])

    def store(self, pack: Pack, size: int, sha256: str, bring: Callable[[Ref], None]) -> None:
        """`bring` makes the blob. Raises ArmError(409) where another was first, and what `bring` raises."""
        ref = _BLOBS.below(f"{pack.name}-{sha256[:32]}.tar.gz")
        spec = {"compute": pack.compute, "platform": pack.platform}
        spec |= {"blob": list(ref), "sha256": sha256, "size": size}
        try:
            with self._database.write() as connection:
                resources.insert_own(connection, pack.id, PATH.lower(), pack.key, self._clock(), "Creating", spec)
        except Exists as error:
            raise taken() from error
        try:
            bring(ref)
        except BaseException:
            self._drop(pack, "Creating")  # the next may try
            raise
        with self._database.write() as connection:
            row = resources.get(connection, pack.id)
            ours = row is not None and row.spec == spec
            if row is not None and ours:
                now = self._clock()
                resources.replace_spec(connection, row, row.spec, state="Succeeded", now=now, by="smalt", due=True)
        if not ours:  # it took so long that nobody waits for it any more
            self._files.remove(ref)

    def forget(self, pack: Pack) -> None:
        """It is not what it was: the next who builds it stores it anew."""
        row = self._row(pack)
        if row is not None and row.state == "Succeeded":
            self._files.remove(Ref(*row.spec["blob"]))
            self._drop(pack, row.state)

    def _drop(self, pack: Pack, state: str) -> None:
        with self._database.write() as connection:
            row = resources.get(connection, pack.id, Lock.REMOVE)
            if row is not None and row.state == state:
                resources.remove(connection, row.id, self._clock())

    def _row(self, pack: Pack) -> Row | None:
        with self._database.read() as connection:
            return resources.get(connection, pack.id)


def _is_of(compute: Row | None, row: Row) -> bool:
    """Not of one that had this name before."""
    return compute is None or compute.created_at <= row.created_at


def taken() -> ArmError:
    return ArmError(409, "EnvironmentPacked", "Another machine has packed this environment before.")


def _reconcile(platform: Platform, row: Row) -> Step:
    if row.state == "Creating" and platform.clock() - row.created_at < STORING_S:
        return Step("Creating", dict(row.status), after=STORING_S)
    with platform.database.read() as connection:
        compute = resources.get(connection, str(row.spec["compute"]))
    if row.state == "Succeeded" and compute is not None and _is_of(compute, row):
        return kept(platform, row, dict(row.status))
    platform.blobs.remove(*row.spec["blob"])
    return Step(REMOVING, dict(row.status), gone=True)


KIND = Kind(path=PATH, title="environment pack", scopes=INTERNAL, reconcile=_reconcile)
