"""From which resource files come: of which asset they are, or which job wrote them. For the edges of lineage."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Admitted, Request
from smalt.arm.platform import Platform
from smalt.arm.written import writer
from smalt.kinds.assets import addresses, references
from smalt.kinds.assets.addresses import NotAnAddress, OfJob
from smalt.kinds.assets.references import Place
from smalt.store import lineage, resources
from smalt.store.lineage import Link

Origin = tuple[tuple[str, ...], str]  # keys, of which the first counts that is there; and the output's name


def origins(
    platform: Platform, connection: Connection, home: ResourceId, uri: str, place: Place, job: str = ""
) -> list[Origin]:
    """Which jobs wrote what is at `place`, to which `uri` led. `job`: who is said to have, if nobody else is known."""
    named, output = _of_job(platform, uri)
    said = tuple(home.child("jobs", one).key for one in (named, job) if one)
    if place.account and (known := writer(place.path)):
        return [((home.child("jobs", known[0]).key, *said), known[1])]
    if place.account and (found := lineage.writers(connection, place_key(place))):
        return [((one.job,), one.output) for one in found]
    return [(said, output)] if said else []


def place_key(place: Place) -> str:
    return f"{place.account}/{place.container}/{place.path.strip('/')}"


def noted(request: Request, admitted: Admitted, given: str, uri: str, type_: str, job: str = "") -> Admitted:
    """A new version, whose files are at `uri`, to which `given` led: it is written from what they come."""
    target = request.id.key

    def writes(connection: Connection) -> None:
        if admitted.writes is not None:
            admitted.writes(connection)
        links = _links(request, connection, given, uri, type_, job)
        lineage.link(connection, [replace(one, target=target) for one in links], request.now)

    return replace(admitted, writes=writes)


def _links(request: Request, connection: Connection, given: str, uri: str, type_: str, job: str) -> list[Link]:
    home, platform = request.id.home, request.platform
    try:
        if references.is_asset(given):
            row = references.asset(connection, home, given, type_, "uri")
            if resources.get(connection, row.id) is not None:  # else it is a job's output, which has no row
                return [Link((row.id,), "", lineage.FILES)]
        place = references.locate(platform, connection, home, uri, "uri")
    except ArmError:  # it was admitted; what is not known now is not told
        return []
    found = origins(platform, connection, home, given, place, job)
    return [Link(keys, "", lineage.OUTPUT, output) for keys, output in found]


def _of_job(platform: Platform, uri: str) -> tuple[str, str]:
    if references.is_asset(uri):
        return "", ""
    try:
        address = addresses.parse(uri, f"{platform.settings.host}:{platform.settings.port}")
    except NotAnAddress:
        return "", ""
    return (address.job, address.output) if isinstance(address, OfJob) else ("", "")
