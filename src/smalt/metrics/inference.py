"""What inference servers count of themselves becomes series of their deployments, each counted once.

They are asked only where the gateway's numbers say that there were requests; a replica that does not answer in time is
asked the next time. One that ended is not asked again: what it counted after the last look is lost with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from pathlib import Path

from smalt.arm.platform import Platform
from smalt.metrics import scrape
from smalt.metrics.counters import Counters, flat, kept, since
from smalt.metrics.names import IN_FLIGHT
from smalt.metrics.recorder import Recorder
from smalt.metrics.scrape import Said
from smalt.store import resources, series
from smalt.store.resources import Row
from smalt.store.series import MINUTE, Key, Point

_BEGAN = "@"  # between a replica's name and the start of its process: together they are a source


class Inference:
    """`host` tells this server's marks from those of others."""

    def __init__(self, platform: Platform, recorder: Recorder, host: str) -> None:
        self._platform = platform
        self._recorder = recorder
        self._host = host
        self._busy: set[str] = set()  # deployments that had requests in flight when they were asked last

    def collect(self, served: Set[str]) -> None:
        """Of the deployments (ids) that answered since the last time; once more of those that had something in hand."""
        names = {scope: f"{self._host} {scope}" for scope in served | self._busy}
        if not names:
            return
        with self._platform.database.read() as connection:
            live = {key: _live(row) for key, row in resources.get_many(connection, names).items()}
            marks = series.taken_over(connection, list(names.values()), "")
        before = {scope: kept(marks.get(names[scope], {})) for scope in live}
        known = {(scope, _replica(source)) for scope, one in before.items() for source in one}
        every = {(scope, name) for scope, one in live.items() for name in one} | known  # those to be drained, too
        said = scrape.ask({one: self._platform.settings.run / f"{one[1]}.sock" for one in every})
        self._take_over(names, live, before, said)
        self._busy = self._note_in_flight(said)

    def _take_over(
        self,
        names: Mapping[str, str],
        live: Mapping[str, Set[str]],
        before: Mapping[str, Mapping[str, Counters]],
        said: Mapping[tuple[str, str], Said],
    ) -> None:
        found: defaultdict[str, dict[str, Counters]] = defaultdict(dict)
        for (scope, name), one in said.items():
            found[scope][f"{name}{_BEGAN}{one.began}"] = one.counters
        points: dict[tuple[Key, int], Point] = {}
        totals: dict[str, dict[str, float]] = {}
        minute = int(self._platform.clock() // MINUTE) * MINUTE
        for scope, known in before.items():
            waited_for = {name for name in live[scope] if (scope, name) not in said}
            after = {one: known[one] for one in known if _replica(one) in waited_for} | found[scope]
            if after != known:
                points |= {(key, minute): point for key, point in scrape.points(scope, since(known, found[scope]))}
                totals[names[scope]] = flat(after)
        if totals:
            with self._platform.database.write() as connection:
                series.add(connection, points)
                series.take_over(connection, totals, "")
            self._recorder.note(points)

    def _note_in_flight(self, said: Mapping[tuple[str, str], Said]) -> set[str]:
        for (scope, name), one in said.items():
            self._recorder.record(scope, IN_FLIGHT.name, one.in_flight, {"instance": name})
        return {scope for (scope, _), one in said.items() if one.in_flight}


def _live(row: Row) -> set[str]:
    """The names of the replicas that requests go to."""
    return {Path(one).stem for one in (row.status.get("live") or {}).get("sockets", [])}


def _replica(source: str) -> str:
    return source.rpartition(_BEGAN)[0]
