"""Routes: `/endpoints/{name}/…` to the deployments, everything else to the server.

The path leads to the routes of its endpoint through one look-up in a tree of prefixes, however many endpoints there
are; a call of the API or of a blob meets none of them. An endpoint's routes are then tried in order.

Keys and tokens are checked by the routes themselves, with plain matchers: a first route refuses whatever lacks every
key (or a token of the audience, from the JWT filter's metadata), so nothing behind it is reached without. No filter is
configured for each endpoint, and none that is still marked as work in progress is used.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence

from smalt.agent.wire import Address
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.auth.endpoint_keys import KEY
from smalt.gateway.clusters import SERVER, SERVICES, cluster_name
from smalt.gateway.documents import CONFIG, EXTENSION, Document
from smalt.gateway.listener import ASLEEP_HEADER, REFUSED_BODY, REFUSED_STATUS, ROUTES
from smalt.gateway.refused import (
    ANONYMOUS_S,
    SMALL,
    answer,
    header_is,
    path_of,
    set_header,
    strangers,
    token_filter,
    unknown_endpoint,
)

DEPLOYMENT_HEADER = "azureml-model-deployment"
START_S = 600.0  # so long a request waits for an instance of a deployment that has none
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
MILLION = 1_000_000
SHORTEST_S, LONGEST_S = 0.001, 86_400.0  # of a request: Envoy counts in milliseconds, and takes 0 for "without end"
MOST_AT_ONCE = 1_000_000
SERVER_RETRIES = 40  # with the back-off below about 20 s: a server that restarts is waited for
IDEMPOTENT = "GET|HEAD|OPTIONS"
SENT, LOST = "connect-failure,refused-stream", "connect-failure,refused-stream,reset"
SILENT_BODY_S = 10.0  # of a body for a deployment that does not go on, beyond the time that an answer may take
OAUTH = "/[^/]+/oauth2(/v2\\.0)?/[a-z]+"


def check(endpoints: Sequence[EndpointRoute]) -> None:
    """Raises ArmError(400) with one detail for each endpoint that could not be served, its name as the `target`.

    Envoy would take some of it and then not serve (routes to clusters that do not exist), and refuse
    the whole file for the rest.
    """
    faults: list[ArmError] = []
    seen: set[str] = set()
    for endpoint in endpoints:
        try:
            _need(endpoint.name.lower() not in seen, f"endpoint {endpoint.name!r} is given twice")
            _check_endpoint(endpoint)
        except ArmError as error:
            faults.append(invalid(error.message, endpoint.name))
        seen.add(endpoint.name.lower())
    if faults:
        raise invalid(" ".join(one.message for one in faults), faults[0].target, faults)


def route_configuration(endpoints: Mapping[str, Sequence[Document]], services: Sequence[str] = ()) -> Document:
    """The whole route table, from the `endpoint_routes` of each endpoint by its name.

    `services`: the host names (with `*`) that lead to services of jobs, and to nothing else.
    """
    prefixes = {
        f"/endpoints/{spelling}/": _action(endpoints[name])
        for name in sorted(endpoints)
        for spelling in {name, name.lower()}
    }
    tree = {
        "input": {
            "name": "path",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                "header_name": ":path",
            },
        },
        "prefix_match_map": {"map": {"/endpoints/": _action(unknown_endpoint()), **prefixes}},
    }
    return {
        "@type": f"{CONFIG}route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [
            *([_services(services)] if services else []),
            {
                "name": "all",
                "domains": ["*"],
                "matcher": {"matcher_tree": tree, "on_no_match": _action(_server_routes())},
                "retry_policy": _replica_retries(),  # of all routes that have none of their own
                "response_headers_to_remove": [
                    "x-envoy-upstream-service-time",
                    "x-envoy-upstream-healthchecked-cluster",
                ],
            },
        ],
    }


def service_hosts(below: str, port: int) -> list[str]:
    """The names below that one, as clients write them into a request; none where there is none."""
    return [f"*.{below}", f"*.{below}:{port}"] if below else []


def _services(hosts: Sequence[str]) -> Document:
    """Who comes is looked at behind it (`web/services.py`). Only what was not sent is repeated."""
    route = {"cluster": SERVICES, "timeout": "0s", "retry_policy": _server_retries(SENT)}
    return {"name": "services", "domains": list(hosts), "routes": [{"match": {"prefix": "/"}, "route": route}]}


def _action(routes: Sequence[Document]) -> Document:
    listed = {"@type": f"{CONFIG}route.v3.RouteList", "routes": routes}
    return {"action": {"name": "routes", "typed_config": listed}}


def _check_endpoint(endpoint: EndpointRoute) -> None:
    _need(bool(NAME.fullmatch(endpoint.name)), f"endpoint name {endpoint.name!r} cannot stand in a URL")
    names = [one.name for one in endpoint.deployments]
    for name in names:
        _need(
            bool(NAME.fullmatch(name)),
            f"deployment name {name!r} of endpoint {endpoint.name!r} cannot stand in a header",
        )
    _need(len(set(names)) == len(names), f"endpoint {endpoint.name!r} names a deployment twice: {names}")
    for what, shares in (("traffic", endpoint.traffic), ("mirror traffic", endpoint.mirror)):
        for name, percent in shares.items():
            _need(name in names, f"{what} of endpoint {endpoint.name!r} goes to {name!r}, which is not among {names}")
            _need(0 <= percent <= 100, f"{what} of {name!r} is {percent} %: it must be from 0 to 100")
    total = sum(endpoint.traffic.values())
    _need(total <= 100, f"traffic of endpoint {endpoint.name!r} is {total} % in sum: it must not be above 100")
    for key in endpoint.keys:
        _need(bool(KEY.fullmatch(key)), f"a key of endpoint {endpoint.name!r} cannot stand in a header")
    for one in endpoint.deployments:
        _check_deployment(one)


def _check_deployment(one: DeploymentRoute) -> None:
    _need(
        SHORTEST_S <= one.timeout_s <= LONGEST_S,
        f"the request timeout of deployment {one.name!r} is {one.timeout_s:g} s:"
        " it must be above 0 s and at most a day",
    )
    _need(
        1 <= one.max_concurrent <= MOST_AT_ONCE,
        f"deployment {one.name!r} takes {one.max_concurrent} requests at once: from 1 to {MOST_AT_ONCE} are possible",
    )
    for address in one.addresses:
        _need(_is_address(address), f"{one.name!r}: {address!r} is no address where a replica can listen")


def _is_address(address: Address) -> bool:
    """A unix socket whose path fits, or a port of an IP address: Envoy looks up no names here."""
    if address.path:
        return address.path.startswith("/") and len(os.fsencode(address.path)) < 108
    try:
        return bool(ipaddress.ip_address(address.host)) and 0 < address.port < 65536
    except ValueError:
        return False


def _need(good: bool, otherwise: str) -> None:
    if not good:
        raise invalid(f"{otherwise}.")


def endpoint_routes(endpoint: EndpointRoute) -> list[Document]:
    """The routes of an endpoint that has passed `check`.

    In this order: refuse strangers; the deployment that a header names, or 404; a share of the traffic for each; 404.
    """
    names = sorted(one.name for one in endpoint.deployments)
    by_name = {one.name: one for one in endpoint.deployments}
    wrong_name = (
        f"The endpoint '{endpoint.name}' has no deployment of the name given in the header '{DEPLOYMENT_HEADER}'. "
    )
    wrong_name += f"It has: {', '.join(names)}." if names else "It has no deployments."
    no_traffic = (
        "No valid deployments to route to. Please check that the endpoint has at least one deployment with positive "
        f"weight values or use a deployment specific header to route (endpoint '{endpoint.name}')."
    )
    found = strangers(endpoint)
    for name in names:
        found += _deployment_routes(endpoint, by_name[name], {"headers": [header_is(DEPLOYMENT_HEADER, name)]})
    present = {"headers": [{"name": DEPLOYMENT_HEADER, "present_match": True}]}
    found += answer(endpoint, present, 404, "DeploymentNotFound", wrong_name)
    found += _shares(endpoint, by_name)
    found += answer(endpoint, {}, 404, "NoValidDeployment", no_traffic)
    return found


def _shares(endpoint: EndpointRoute, by_name: Mapping[str, DeploymentRoute]) -> list[Document]:
    """Routes for each share. Envoy draws one random number for a request, so the bounds add up.

    Weighted clusters would do it in one route, but with one timeout for all. Shares of less than 100 % in sum (a
    deployment is not there at the moment) are filled up in proportion.
    """
    found: list[Document] = []
    total, bound = sum(endpoint.traffic.values()), 0
    for name in sorted(endpoint.traffic):
        percent = endpoint.traffic[name]
        bound += percent
        if percent:
            fraction = {"numerator": bound * MILLION // total, "denominator": "MILLION"}
            share = {"runtime_fraction": {"default_value": fraction}}
            for route in _deployment_routes(endpoint, by_name[name], share):
                route["route"] |= _mirrors(endpoint, by_name)
                found.append(route)
    return found


def _mirrors(endpoint: EndpointRoute, by_name: Mapping[str, DeploymentRoute]) -> Document:
    """To those that have an instance: a copy would tell the server that it is for the deployment it was copied from."""
    policies = [
        {
            "cluster": cluster_name(endpoint.name, name),
            "runtime_fraction": {"default_value": {"numerator": percent, "denominator": "HUNDRED"}},
            "disable_shadow_host_suffix_append": True,
        }
        for name, percent in sorted(endpoint.mirror.items())
        if percent and not by_name[name].asleep
    ]
    return {"request_mirror_policies": policies} if policies else {}


def _deployment_routes(endpoint: EndpointRoute, deployment: DeploymentRoute, condition: Document) -> list[Document]:
    """For bodies that are surely small, and for all others.

    Too many small ones are refused here and at once. Behind a refusal Envoy reads nothing more (`refused.py`), so
    others have a count of their own, and what is too much the instance refuses, once it has read it.
    """
    if deployment.asleep:
        return [_deployment_route(endpoint, deployment, condition)]
    headers = [*condition.get("headers", []), SMALL]
    others = _deployment_route(endpoint, deployment, condition)
    others["route"]["priority"] = "HIGH"
    return [_deployment_route(endpoint, deployment, condition | {"headers": headers}), others]


def _deployment_route(endpoint: EndpointRoute, deployment: DeploymentRoute, condition: Document) -> Document:
    """Where it has no instance, the server holds the request: it is told for whom, and waited for while it restarts."""
    asleep: Document = {}
    held: Document = {}
    if deployment.asleep:
        asleep["request_headers_to_add"] = [set_header(ASLEEP_HEADER, f"{endpoint.name}/{deployment.name}")]
        held["retry_policy"] = _server_retries(LOST)  # it says 102 once it passes it on: of the others none is lost
    timeout_s = deployment.timeout_s + (START_S if deployment.asleep else 0)
    return {
        "match": path_of(endpoint, condition),
        "route": {
            "cluster": cluster_name(endpoint.name, deployment.name),
            "timeout": f"{timeout_s:.3f}s",
            "idle_timeout": f"{timeout_s + SILENT_BODY_S:.3f}s",  # its place is others', too
            "prefix_rewrite": "/",
            **held,
        },
        **asleep,
        "decorator": {"operation": f"{endpoint.name}/{deployment.name}", "propagate": False},
        "tracing": {"random_sampling": {"numerator": 100}},
        "request_headers_to_remove": ["authorization", "cookie"],  # no key and no browser session for the user's script
        "response_headers_to_remove": ["set-cookie"],  # its origin is the platform's
        "response_headers_to_add": [set_header("azureml-model-deployment", deployment.name)],
    } | token_filter(endpoint)


def _replica_retries() -> Document:
    """Another replica for what one could not take.

    `reset` includes what a replica had in hand when it was killed, so that none is lost, but for what it had said that
    it has begun with (102): Envoy repeats nothing behind an answer, be it of 1xx, and passes none of those on. So a
    request which itself kills replicas (out of memory, say) takes one of them. Twice, since the second may be one that
    is drained at that moment.
    """
    return {
        "retry_on": "connect-failure,refused-stream,reset",
        "num_retries": 2,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{EXTENSION}retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
    }


def _server_routes() -> list[Document]:
    """What only reads may be repeated even after it was sent.

    Who shows nothing that could open anything has a minute.
    """
    reads = {"headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": IDEMPOTENT}}}]}
    absent = [{"name": name, "present_match": True, "invert_match": True} for name in ("authorization", "cookie")]
    unsigned = {"query_parameters": [{"name": "sig", "present_match": False}]}
    return [
        _server_route({"safe_regex": {"regex": OAUTH}}, SENT, ANONYMOUS_S),  # asks for no token, whatever is sent along
        _server_route({"headers": absent + reads["headers"]} | unsigned, LOST, ANONYMOUS_S),
        _server_route({"headers": absent} | unsigned, SENT, ANONYMOUS_S),
        _server_route(reads, LOST),
        _server_route({}, SENT),
    ]


def _server_retries(retry_on: str) -> Document:
    return {
        "retry_on": retry_on,
        "num_retries": SERVER_RETRIES,
        "retry_back_off": {"base_interval": "0.100s", "max_interval": "1s"},
    }


def _server_route(condition: Document, retry_on: str, most_s: float = 0) -> Document:
    """`most_s`: of the whole exchange; 0 is without end."""
    limit = {"max_stream_duration": {"max_stream_duration": f"{most_s:g}s"}} if most_s else {}
    return {
        "match": ({} if "safe_regex" in condition else {"prefix": "/"}) | condition,
        "route": {
            "cluster": SERVER,
            "timeout": "0s",
            "retry_policy": _server_retries(retry_on),
            **limit,
        },
        "request_headers_to_add": [set_header("x-forwarded-host", "%REQ(:AUTHORITY)%")],
        "request_headers_to_remove": [REFUSED_STATUS, REFUSED_BODY],  # the gateway alone writes them
    }
