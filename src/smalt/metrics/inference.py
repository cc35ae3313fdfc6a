"""What inference servers count of themselves becomes series of their deployments, each counted once.

They are asked only where the gateway's numbers say that there were requests; a replica that does not answer in time is
asked the next time. One that ended is not asked again: what it counted after the last look is lost with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set

from smalt.arm.platform import Platform
from smalt.metrics import scrape
from smalt.metrics.counters import Counters, flat, kept, since
from smalt.metrics.names import IN_FLIGHT, INSTANCE
from smalt.metrics.recorder import Recorder
from smalt.metrics.scrape import Dial, Said
from smalt.store import resources, series
from smalt.store.document import part
from smalt.store.resources import Row
from smalt.store.series import MINUTE, Key, Point

_BEGAN = "@"  # between a replica's name and the start of its process: together they are a source


class Inference:
    """`host` tells this server's marks from those of others."""

    def __init__(self, platform: Platform, recorder: Recorder, host: str, dial: Dial) -> None:
        self._dial = dial
        self._platform = platform
        self._recorder = recorder
        self._host = host
        self._said: dict[tuple[str, str], Said] = {}  # by deployment and replica
        self._busy: set[str] = set()  # deployments that had requests in flight when they were asked last

    def ask(self, scopes: Set[str]) -> None:
        """The replicas of these deployments (ids), some of which may be about to end. It is kept until `collect`."""
        if not scopes:
            return
        live, before, _ = self._read(scopes)
        known = {(scope, _replica(source)) for scope, one in before.items() for source in one}
        every = {(scope, name) for scope, one in live.items() for name in one} | known  # those to be drained, too
        states = {one: self._platform.engine.observe(one[1]) for one in every}
        self._said |= scrape.ask({one: state.address for one, state in states.items() if state}, self._dial)

    def collect(self, served: Set[str]) -> None:
        """Of the deployments (ids) that answered since the last time; once more of those that had something in hand."""
        self.ask(served | self._busy)
        said, scopes = self._said, {scope for scope, _ in self._said}
        if scopes:
            self._take_over(*self._read(scopes), said)
        self._said, self._busy = {}, self._note_in_flight(said)

    def _read(
        self, scopes: Set[str]
    ) -> tuple[dict[str, set[str]], Mapping[str, Mapping[str, Counters]], dict[str, set[str]]]:
        """By deployment: the replicas that requests go to, what was taken over of each source, and its collections."""
        with self._platform.database.read() as connection:
            rows = resources.get_many(connection, scopes)
            live = {key: _live(row) for key, row in rows.items()}
            marks = series.taken_over(connection, [self._mark(one) for one in live], "")
        known = {scope: kept(marks.get(self._mark(scope), {})) for scope in live}
        return live, known, {key: _collections(row) for key, row in rows.items()}

    def _mark(self, scope: str) -> str:
        return f"{self._host} {scope}"

    def _take_over(
        self,
        live: Mapping[str, Set[str]],
        before: Mapping[str, Mapping[str, Counters]],
        collections: Mapping[str, Set[str]],
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
                new = dict(scrape.points(scope, since(known, found[scope])))
                for source, one in found[scope].items():
                    own = since({source: known.get(source, {})}, {source: one})
                    new |= scrape.collected(scope, _replica(source), collections[scope], own)
                points |= {(key, minute): point for key, point in new.items()}
                totals[self._mark(scope)] = flat(after)
        if totals:
            with self._platform.database.write() as connection:
                series.add(connection, points)
                series.take_over(connection, totals, "")
            self._recorder.note(points)

    def _note_in_flight(self, said: Mapping[tuple[str, str], Said]) -> set[str]:
        for (scope, name), one in said.items():
            self._recorder.record(scope, IN_FLIGHT.name, one.in_flight, {INSTANCE: name})
        return {scope for (scope, _), one in said.items() if one.in_flight}


def _live(row: Row) -> set[str]:
    """The names of the replicas that requests go to."""
    return set((row.status.get("live") or {}).get("addresses", {}))


def _collections(row: Row) -> set[str]:
    """What its instances collect, as they name it."""
    return {name.lower() for name in part(row.properties, "dataCollector").get("collections") or {}}


def _replica(source: str) -> str:
    return source.rpartition(_BEGAN)[0]
