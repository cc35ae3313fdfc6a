"""Where the files of registered models are: some were uploaded to another container than MLflow's artifacts.

Those have names of their own among the artifacts, `RegisteredModel/{model}.{version}/…`, read-only, so that
`models:/{model}/{version}` opens for every client. Which place a name stands for is in `smalt_model_places`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from smalt.arm.errors import ArmError, not_found
from smalt.settings import ARTIFACT_CONTAINER
from smalt.tracking.artifacts.files import Files
from smalt.tracking.database import schema
from smalt.tracking.database.tracking_database import TrackingDatabase

ORIGIN = "RegisteredModel"
_NAME = re.compile(rf"{ORIGIN}/([^/]+)(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Spot:
    """One file or folder: `name` in `folder`, which is the container `container`."""

    folder: Files
    container: str
    name: str
    writable: bool = True

    def check_writable(self) -> None:
        if not self.writable:
            raise ArmError(
                403, "ReadOnly", "The files of a registered model cannot be changed; register a new version."
            )


@dataclass(frozen=True)
class ModelFiles:
    """`folder_of(container)` is a container of the workspace's account.

    `place_of("{model}.{version}")` is (container, path).
    """

    folder_of: Callable[[str], Files]
    place_of: Callable[[str], tuple[str, str] | None]

    def locate(self, name: str) -> Spot:
        """For a blob's name among the artifacts. Raises ArmError(404) for a model that is not there."""
        found = _NAME.fullmatch(name)
        if found is None:
            return Spot(self.folder_of(ARTIFACT_CONTAINER), ARTIFACT_CONTAINER, name)
        place = self.place_of(found[1])
        if place is None:
            raise not_found("The registered model", found[1])
        container, path = place
        above, _, leaf = path.rpartition("/")
        below = (found[2] or leaf).strip("/")
        if below != leaf and not below.startswith(leaf + "/"):
            raise not_found("The artifact", name)
        return Spot(self.folder_of(container), container, f"{above}/{below}".lstrip("/"), writable=False)

    def place_at(self, name: str) -> tuple[str, str] | None:
        """(container, path) that a name of the form `RegisteredModel/{model}.{version}/…` stands for."""
        if _NAME.fullmatch(name) is None:
            return None
        spot = self.locate(name)
        return spot.container, spot.name

    def files(self, name: str) -> list[str]:
        """All files below, relative to `name`; below a model's own folder they begin with its leaf."""
        spot, found = self.locate(name), _NAME.fullmatch(name)
        leaf = spot.name.rsplit("/", 1)[-1] if found and not found[2] else ""
        if leaf and spot.folder.is_file(spot.name):
            return [leaf]
        return [f"{leaf}/{path}" if leaf else path for path, _ in spot.folder.files(spot.name)]


def place_in(database: TrackingDatabase, workspace: str) -> Callable[[str], tuple[str, str] | None]:
    """`place_of` for the workspace of this name in MLflow."""
    table = schema.model_places

    def place_of(place: str) -> tuple[str, str] | None:
        with database.read() as connection:
            row = connection.execute(
                select(table.c.container, table.c.path).where(table.c.workspace == workspace, table.c.place == place)
            ).first()
        return (row.container, row.path) if row else None

    return place_of
