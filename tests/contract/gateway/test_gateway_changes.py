"""What changes and what breaks while requests come in: new routes, new replicas, killed ones, a killed proxy, a server away."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from pathlib import Path

import pytest
from gateway_site import Load, Site, endpoint, wait

from live.patience import PATIENCE_S
from live.ports import free_port
from smalt.agent.wire import Address
from smalt.arm.errors import ArmError
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.auth.certificates import ensure_certificates
from smalt.auth.tokens import TokenService
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.gateway.routes import LONGEST_S, MOST_AT_ONCE, SHORTEST_S
from smalt.settings import Settings


def snapshot(site: Site) -> dict[str, tuple[int, bytes]]:
    """Of what Envoy reads for its routes: the pressure beside it is written by whoever looks at it."""
    files = [one for one in site.settings.gateway.rglob("*.json") if one.parent.name != "pressure"]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def cluster_names(site: Site) -> set[str]:
    lines = site.gateway._admin.get("/clusters").splitlines()
    return {line.split("::")[0] for line in lines}


def out_of_rotation(site: Site, host: str) -> bool:
    lines = site.gateway._admin.get("/clusters").splitlines()
    flags = next(line for line in lines if line.startswith(f"{host}::health_flags::"))
    return not flags.endswith("::healthy")


def test_nothing_is_written_where_nothing_changed_also_by_another_process(site: Site) -> None:
    blue, _ = site.replica("same")
    version = site.put(endpoint("same", {"blue": 100}, {"blue": [blue]}))
    before = snapshot(site)
    assert site.gateway.apply([endpoint("same", {"blue": 100}, {"blue": [blue]})]) == version
    restarted = EnvoyGateway(site.settings, site.tokens)
    restarted.write_bootstrap()
    assert restarted.apply([endpoint("same", {"blue": 100}, {"blue": [blue]})]) == version
    assert restarted.in_force(version)
    assert snapshot(site) == before


def test_an_earlier_version_is_in_force_with_a_later_one_and_an_unknown_one_never(site: Site) -> None:
    blue, _ = site.replica("order")
    first = site.gateway.apply([endpoint("order", {"blue": 100}, {"blue": [blue]})])
    second = site.put(endpoint("order", {}, {"blue": [blue]}))
    assert first != second and site.gateway.in_force(first)
    back = site.put(endpoint("order", {"blue": 100}, {"blue": [blue]}))
    assert back not in (first, second)
    assert not site.gateway.in_force("99999999-feedfeedfeedfeed") and not site.gateway.in_force("")


def test_fifty_flips_under_load_lose_no_request(site: Site) -> None:
    blue, green = site.replica("flip-blue")[0], site.replica("flip-green")[0]
    here = {"blue": [blue], "green": [green]}
    site.put(endpoint("flip", {"blue": 100}, here))
    with Load(site, "flip") as load:
        for turn in range(50):
            site.put(endpoint("flip", {"green": 100} if turn % 2 == 0 else {"blue": 100}, here))
            load.more(10)
        load.more(100)
    assert load.failures() == [] and len(load.answers) > 500
    assert {name for _, name in load.answers} == {"blue", "green"}


def test_in_force_means_that_every_request_follows(site: Site) -> None:
    blue, green = site.replica("follow-blue")[0], site.replica("follow-green")[0]
    client = site.client()
    for turn in range(20):
        target = "green" if turn % 2 else "blue"
        site.put(endpoint("follow", {target: 100}, {"blue": [blue], "green": [green]}))
        assert {client.score("follow").headers["azureml-model-deployment"] for _ in range(20)} == {target}
    client.close()


def test_a_rolling_update_of_the_replicas_loses_no_request(site: Site) -> None:
    """New replicas come in under new sockets, the old ones are stopped as soon as the new configuration is in force."""
    path, process = site.replica("roll-0")
    site.put(endpoint("roll", {"blue": 100}, {"blue": [path]}))
    with Load(site, "roll") as load:
        for turn in range(1, 8):
            fresh_path, fresh = site.replica(f"roll-{turn}")
            site.put(endpoint("roll", {"blue": 100}, {"blue": [path, fresh_path]}))
            load.more(20)
            site.put(endpoint("roll", {"blue": 100}, {"blue": [fresh_path]}))
            load.more(20)
            process.send_signal(signal.SIGKILL)
            path, process = fresh_path, fresh
    assert load.failures() == [] and len(load.answers) > 300


def test_deployments_come_and_go_without_a_lost_request_and_leave_no_cluster_behind(site: Site) -> None:
    blue, green = site.replica("come-blue")[0], site.replica("come-green")[0]
    site.put(endpoint("come", {"blue": 100}, {"blue": [blue]}))
    with Load(site, "come") as load:
        for _ in range(10):
            site.put(endpoint("come", {"blue": 50, "green": 50}, {"blue": [blue], "green": [green]}))
            load.more(10)
            site.put(endpoint("come", {"blue": 100}, {"blue": [blue]}))
        load.more(10)
    assert load.failures() == []
    wait(lambda: cluster_names(site) == {"server", "services", "come/blue"})


def test_a_killed_replica_loses_no_request(site: Site) -> None:
    """Neither those that it had in hand (0.05 s each) nor later ones; it is out of the rotation after a second."""
    (stays, _), (goes, victim) = site.replica("stays"), site.replica("goes")
    site.put(endpoint("pair", {"blue": 100}, {"blue": [stays, goes]}))
    with Load(site, "pair", clients=8, path="/score?sleep=0.05") as load:
        load.more(60)
        victim.kill()
        load.more(200)
    assert load.failures() == []
    wait(lambda: out_of_rotation(site, f"pair/blue::{goes.path}"))
    site.spawn(goes, "goes-again")
    client = site.client()
    wait(lambda: client.score("pair").json["name"] == "goes-again")
    client.close()


def test_a_new_deployment_gets_no_request_before_it_is_healthy(site: Site) -> None:
    blue, _ = site.replica("old")
    late = site.at("late")
    site.put(endpoint("late", {"blue": 100}, {"blue": [blue]}))
    version = site.gateway.apply([endpoint("late", {"green": 100}, {"blue": [blue], "green": [late]})])
    client = site.client()
    for _ in range(20):
        assert not site.gateway.in_force(version)
        assert client.score("late").headers["azureml-model-deployment"] == "blue"
    site.spawn(late, "late")
    wait(lambda: site.gateway.in_force(version))
    assert client.score("late").json["name"] == "late"
    client.close()


def test_replicas_on_ports_and_on_sockets_serve_side_by_side(site: Site) -> None:
    port = Address(f"127.0.0.1:{free_port()}")
    socket, _ = site.replica("socket")
    site.spawn(port, "port")
    site.put(endpoint("both", {"blue": 100}, {"blue": [socket, port]}))
    client = site.client()
    assert {client.score("both").json["name"] for _ in range(50)} == {"socket", "port"}
    client.close()


def test_a_deployment_whose_replicas_are_all_dead_does_not_hold_up_the_others(site: Site) -> None:
    blue, _ = site.replica("alive")
    dead = site.at("nobody")
    site.put(
        endpoint("alive", {"blue": 100}, {"blue": [blue]}),
        endpoint("dead", {"blue": 100}, {"blue": [dead]}),
        endpoint("hollow", {"blue": 100}, {"blue": []}),
    )
    client = site.client()
    assert client.score("alive").status == 200
    for name in ("dead", "hollow"):
        answer = client.score(name)
        assert answer.status == 503 and answer.json["error"]["code"] == "ServiceUnavailable"
        assert answer.headers["retry-after"] == "1" and answer.headers["azureml-model-deployment"] == "blue"
    client.close()


def test_a_configuration_that_could_not_serve_is_refused_and_changes_nothing(site: Site) -> None:
    before = snapshot(site)
    for wrong in (
        endpoint("bad", {"blue": 100}, {}),
        endpoint("bad", {"blue": 60, "green": 60}, {"blue": [], "green": []}),
        endpoint("bad", {}, {"blue": []}, mirror={"ghost": 10}),
        endpoint("bad/../x", {}, {}),
        endpoint("bad", {}, {}, keys=("",)),
        endpoint("bad", {}, {}, keys=("with space",)),
    ):
        with pytest.raises(ArmError):
            site.gateway.apply([wrong])
    assert snapshot(site) == before


@pytest.mark.parametrize(("timeout_s", "at_once"), [(SHORTEST_S, 1), (LONGEST_S, MOST_AT_ONCE)])
def test_envoy_takes_the_least_and_the_most_that_is_let_through(site: Site, timeout_s: float, at_once: int) -> None:
    addresses = [site.at(str(number)) for number in range(50)]
    wide = DeploymentRoute("blue", addresses, timeout_s, at_once)
    key = "~" * 4096
    site.put(EndpointRoute("wide", (key,), {}, {}, [wide]))
    assert site.gateway.refusals() == []
    client = site.client()
    assert client.score("wide", key=key).json["error"]["code"] == "NoValidDeployment"
    assert client.score("wide", key=key[1:]).status == 401
    client.close()


def test_a_restart_of_the_server_is_waited_for(site: Site) -> None:
    client = site.client()
    server = site.server()
    server.kill()
    server.wait()
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(client.ask("PUT", "/subscriptions/x", b"{}").status)

    waiting = threading.Thread(target=ask)
    waiting.start()
    waiting.join(1.0)
    assert statuses == []  # held, not refused
    site.server()
    waiting.join(PATIENCE_S)
    assert statuses == [200]
    client.close()


def test_a_server_that_stays_away_is_a_503_that_clients_retry(site: Site) -> None:
    for process in site.processes:
        if f"unix:{site.settings.server_socket}" in process.args:  # type: ignore[operator]
            process.kill()
            process.wait()
    site.settings.server_socket.unlink(missing_ok=True)
    client = site.client()
    began = time.monotonic()
    answer = client.ask("GET", "/subscriptions/x", timeout=PATIENCE_S)
    assert answer.status == 503 and answer.headers["retry-after"] == "1"
    assert answer.json["error"]["code"] == "ServiceUnavailable"
    assert time.monotonic() - began > 5
    refused = client.ask("POST", "/endpoints/nobody/score", b"x" * (64 << 10))
    assert refused.status == 404 and refused.json["error"]["code"] == "EndpointNotFound"
    client.close()


@pytest.mark.serial
def test_a_killed_envoy_is_back_within_a_second_with_the_same_configuration(site: Site) -> None:
    blue, _ = site.replica("again")
    hung, process = site.replica("hung")
    version = site.put(endpoint("again", {"blue": 100}, {"blue": [blue]}), endpoint("hung", {}, {"blue": [hung]}))
    os.kill(process.pid, signal.SIGSTOP)  # a replica that answers no health check must not hold up the start
    before = snapshot(site)
    took: list[float] = []
    while not took or (min(took) >= 1.0 and len(took) < 3):
        site.kill_envoy()
        assert not site.gateway.in_force(version)
        took.append(site.start_envoy())
    assert min(took) < 1.0, took
    client = site.client()
    assert client.score("again").json["name"] == "again"
    wait(lambda: site.gateway.in_force(version))
    assert snapshot(site) == before
    client.close()


def test_what_is_applied_while_envoy_is_down_is_served_when_it_is_back(site: Site) -> None:
    blue, _ = site.replica("down")
    site.kill_envoy()
    version = site.gateway.apply([endpoint("down", {"blue": 100}, {"blue": [blue]})])
    assert not site.gateway.in_force(version)
    site.start_envoy()
    wait(lambda: site.gateway.in_force(version))
    client = site.client()
    assert client.score("down").json["name"] == "down"
    client.close()


def test_a_renewed_certificate_is_taken_over_without_a_restart(site: Site) -> None:
    def shown() -> str:
        return ssl.get_server_certificate(("localhost", site.settings.port))

    before = shown()
    (site.settings.tls / "server.pem").unlink()
    assert ensure_certificates(site.settings).renewed
    wait(lambda: shown() != before)
    assert shown() == (site.settings.tls / "server.pem").read_text()


def test_a_second_platform_on_the_same_port_is_refused_and_says_why(site: Site, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "second", "localhost", site.settings.port)
    ensure_certificates(settings)
    tokens = TokenService(settings)
    second = Site(settings, tokens, EnvoyGateway(settings, tokens))
    second.gateway.write_bootstrap()
    try:
        second.start_envoy()  # the port answers, because the first has it
        wait(lambda: second.gateway.refusals() != [])
        assert any("in use" in one for one in second.gateway.refusals())
        assert not second.gateway.listening()
        assert site.gateway.listening() and site.gateway.refusals() == []
    finally:
        second.close()
