"""The gateway: which requests go to which replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from smalt.agent.wire import Address
from smalt.arm.ids import ResourceId

GATEWAY = "/smalt/gateways/main"  # the id of the gateway's row
ENDPOINTS = "workspaces/onlineendpoints"  # as rows have their kinds
DEPLOYMENTS = f"{ENDPOINTS}/deployments"
Where = tuple[str, str]  # what the proxy knows a deployment by: its endpoint's name and its own


def route_name(deployment: str) -> Where:
    """Of a deployment's id, as written."""
    id_ = ResourceId.parse(deployment)
    return id_.parent.name, id_.name


def endpoint_of(resource: str) -> str:
    """The key of the endpoint that the resource of that id is, or is in; '' where there is none."""
    id_ = ResourceId.parse(resource)
    return next((one.key for one in (id_, *id_.ancestors) if one.kind == ENDPOINTS), "")


@dataclass(frozen=True)
class DeploymentRoute:
    """Where one deployment's replicas listen, and what a request may take."""

    name: str
    addresses: Sequence[Address]
    timeout_s: float = 5.0
    max_concurrent: int = 1  # for each replica
    max_queue_wait_s: float = 0.5
    asleep: bool = False  # no instance is there: `addresses` is where one is woken, and the request held until it is


@dataclass(frozen=True)
class EndpointRoute:
    """One endpoint: `traffic` and `mirror` in percent by deployment name; `keys` that open it, or `jwt_audience`.

    `jwt_audience` may be several, with spaces between. `workspace` (lowered ARM id): a token that is limited to
    something else does not open the endpoint. Nor does one of the identities `ended` (object ids).
    """

    name: str
    keys: Sequence[str]
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]
    deployments: Sequence[DeploymentRoute]
    jwt_audience: str = ""
    workspace: str = ""
    ended: Sequence[str] = ()


@dataclass(frozen=True)
class Traffic:
    """What one deployment has answered since the proxy started, or since it was made anew for other replicas.

    `codes`: how many answers had each status (200, 424, …), as the proxy counts: 503 for those that it refused since
    too many waited (`overflows`; the client reads 429), 504 for those that took too long (`timeouts`; the client reads
    408) where the replica had not said that it works on them. `broken`: attempts without a connection, or whose
    connection ended before the end of an answer; `repeated`: those of them that were made again, or counted as 503
    after the last. For the rest clients read 502, and no status is counted. `sum_ms`: how long all took together;
    `buckets`: upper bound in ms → how many took between it and the one before; `sum_bytes`: of the bodies of requests
    and answers; `connections`: how many there are to its replicas now; `connected`: how many there have been.
    """

    codes: Mapping[str, int]
    sum_ms: float
    buckets: Mapping[float, int]
    sum_bytes: float = 0.0
    connections: float = 0.0
    connected: float = 0.0
    overflows: float = 0.0
    timeouts: float = 0.0
    broken: float = 0.0
    repeated: float = 0.0


# By (endpoint, deployment) and, below that, by the make whose counters they are: each begins at nothing.
Counted = Mapping[tuple[str, str], Mapping[str, Traffic]]


class Gateway(Protocol):
    def apply(self, endpoints: Sequence[EndpointRoute]) -> str:
        """Make this the whole desired configuration; returns its version. Writes nothing where nothing changed."""
        ...

    def change(self, endpoints: Mapping[str, EndpointRoute | None]) -> str:
        """As `apply`, for the endpoints of these names alone: None takes one away. All others stay as they are.

        Raises LookupError where it is not known what they are: then `apply` all.
        """
        ...

    def in_force(self, version: str) -> bool:
        """Whether the proxy has taken this version (or a later one) over, and its clusters are warm."""
        ...

    def traffic(self) -> tuple[str, Counted]:
        """What was answered, and the process that counts it: a new one begins at nothing.

        Raises NotReady while the proxy does not answer.
        """
        ...

    def in_flight(self) -> Mapping[Where, int]:
        """Requests that have come and are not answered, those that wait included.

        Raises NotReady while the proxy does not answer.
        """
        ...
