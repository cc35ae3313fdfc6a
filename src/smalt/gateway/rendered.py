"""Endpoints as Envoy's documents, each made once: a change of one among thousands makes one anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from smalt.agent.wire import Address
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.gateway.clusters import Trust, deployment_cluster
from smalt.gateway.documents import Document, content_hash
from smalt.gateway.routes import endpoint_routes

Kept = Mapping[str, Document]  # by lowered name: an EndpointRoute as JSON keeps it


@dataclass(frozen=True)
class Rendered:
    """`clusters_hash` and `hash` (of everything) tell whether Envoy would be told something else."""

    name: str
    clusters: list[Document]
    routes: list[Document]
    clusters_hash: str
    hash: str


class Renderings:
    """Remembers what it made. Not thread-safe."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._known: dict[str, tuple[Document, Rendered]] = {}

    def of(self, endpoints: Kept) -> dict[str, Rendered]:
        """In the order of the names. What is not among `endpoints` any more is forgotten."""
        made: dict[str, tuple[Document, Rendered]] = {}
        for key in sorted(endpoints):
            known, wanted = self._known.get(key), endpoints[key]
            made[key] = known if known and known[0] == wanted else (wanted, _rendered(wanted, self._trust))
        self._known = made
        return {key: one for key, (_, one) in made.items()}


def kept(endpoint: EndpointRoute) -> Document:
    """`endpoint`, equal to itself after JSON."""
    deployments = [{**asdict(one), "addresses": list(one.addresses)} for one in endpoint.deployments]
    return {**asdict(endpoint), "keys": list(endpoint.keys), "ended": list(endpoint.ended), "deployments": deployments}


def _deployment(document: Document) -> DeploymentRoute:
    return DeploymentRoute(**{**document, "addresses": [Address(one) for one in document["addresses"]]})


def _rendered(document: Document, trust: Trust) -> Rendered:
    deployments = sorted(map(_deployment, document["deployments"]), key=lambda one: one.name)
    endpoint = EndpointRoute(**{**document, "deployments": deployments})
    clusters = [deployment_cluster(endpoint.name, one, trust) for one in deployments]
    routes = endpoint_routes(endpoint)
    clusters_hash = content_hash(clusters)
    return Rendered(endpoint.name, clusters, routes, clusters_hash, content_hash([clusters_hash, routes]))
