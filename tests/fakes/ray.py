"""`NodeProvider` in memory: what was asked of it, and what the test lets become of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smalt.arm.errors import ArmError
from smalt.arm.ports import Applied, NodePlace, ProvidedNode, WantedNode


@dataclass
class FakeRay:
    """`asked`: each request once, by its id. `busy`: requests are not done yet. `away`: nothing answers. `broken`: raised by all."""

    asked: dict[str, list[WantedNode]] = field(default_factory=dict[str, list[WantedNode]])
    nodes: dict[str, ProvidedNode] = field(default_factory=dict[str, ProvidedNode])
    places: list[NodePlace] = field(default_factory=list[NodePlace])
    busy: bool = False
    away: bool = False
    error: str = ""
    broken: Exception | None = None

    def apply(self, place: NodePlace, id_: str, wanted: Sequence[WantedNode]) -> Applied:
        self._reach(place)
        self.asked.setdefault(id_, list(wanted))
        if self.busy:
            return Applied(done=False)
        if not self.error:
            names = [one.name for one in self.asked[id_]]
            self.nodes = {name: self.nodes.get(name, ProvidedNode("running")) for name in names}
        return Applied(done=True, error=self.error)

    def observe(self, place: NodePlace) -> Mapping[str, ProvidedNode]:
        self._reach(place)
        return dict(self.nodes)

    def _reach(self, place: NodePlace) -> None:
        self.places.append(place)
        if self.broken is not None:
            raise self.broken
        if self.away:
            raise ArmError(502, "RayUnreachable", "Ray's dashboard cannot be reached: refused.")
