"""Who shows no token may not hold what others need: connections that say nothing, and bodies that never end."""

from __future__ import annotations

import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_site import KEY, Site, endpoint

from live.patience import ANSWER_S
from live.ports import free_port
from smalt.auth.certificates import ensure_certificates
from smalt.auth.tokens import TokenService
from smalt.gateway import listener, refused, routes
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.settings import Settings

IDLE_S, ANONYMOUS_S = 1, 2


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Its times are shorter than a platform's."""
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    settings = Settings(folder, "localhost", free_port())
    ensure_certificates(settings)
    tokens = TokenService(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "IDLE_S", IDLE_S)
        patch.setattr(routes, "ANONYMOUS_S", ANONYMOUS_S)
        patch.setattr(refused, "ANONYMOUS_S", ANONYMOUS_S)
        patch.setattr(routes, "SILENT_BODY_S", IDLE_S)
        made = Site(settings, tokens, EnvoyGateway(settings, tokens))
        made.gateway.write_bootstrap()
        try:
            made.start_envoy()
            made.server()
            blue, _ = made.replica("blue")
            hasty = endpoint("hasty", {"blue": 100}, {"blue": [blue]}, timeout_s=1.0)
            made.put(endpoint("ep", {"blue": 100}, {"blue": [blue]}), hasty)
            yield made
        finally:
            made.close()
            print((folder / "envoy.log").read_text()[-3000:], file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)


def line(site: Site) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(site.settings.tls / "ca.pem"))
    plain = socket.create_connection(("127.0.0.1", site.settings.port), timeout=ANSWER_S)
    return context.wrap_socket(plain, server_hostname="localhost")


def begin(site: Site, path: str, *headers: str, length: int = 100) -> ssl.SSLSocket:
    """A request whose body is announced, and half sent."""
    made = line(site)
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
    made.sendall("\r\n".join([*head, "", "x" * (length // 2)]).encode())
    return made


def test_a_connection_that_asks_nothing_is_closed(site: Site) -> None:
    silent = [line(site) for _ in range(300)]
    assert site.client().score("ep").status == 200
    assert {one.recv(1) for one in silent} == {b""}
    for one in silent:
        one.close()


@pytest.mark.parametrize("path", ["/adfs/oauth2/token", "/t/oauth2/v2.0/token", "/subscriptions/x", "/account.blob/x"])
def test_half_a_body_without_a_token_is_a_408(site: Site, path: str) -> None:
    with begin(site, path) as half:
        began = time.monotonic()
        assert half.recv(12).endswith(b" 408")
        assert time.monotonic() - began > ANONYMOUS_S / 2


def test_a_header_does_not_hold_the_place_where_no_token_is_asked_for(site: Site) -> None:
    with begin(site, "/adfs/oauth2/token", "Authorization: Bearer nothing", "Cookie: a=b") as half:
        assert half.recv(12).endswith(b" 408")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/subscriptions/x", ["Authorization: Bearer t"]),
        ("/subscriptions/x", ["Cookie: session=s"]),
        ("/account.blob/x?sv=1&sig=s", []),
        ("/endpoints/ep/score", [f"Authorization: Bearer {KEY}"]),
    ],
)
def test_who_shows_something_may_take_longer(site: Site, path: str, headers: list[str]) -> None:
    with begin(site, path, *headers) as slow:
        slow.settimeout(ANONYMOUS_S + 1.5)
        with pytest.raises(TimeoutError):
            slow.recv(1)
        slow.settimeout(15)
        slow.sendall(b"x" * 50)
        assert slow.recv(12).endswith(b" 200")


def test_half_a_body_does_not_hold_a_deployments_place(site: Site) -> None:
    place = [begin(site, "/endpoints/hasty/score", f"Authorization: Bearer {KEY}") for _ in range(4)]
    assert all(half.recv(12).endswith(b" 408") for half in place)
    assert site.client().score("hasty").status == 200
    for half in place:
        half.close()


def test_a_request_under_way_is_not_an_idle_connection(site: Site) -> None:
    with begin(site, "/subscriptions/x", "Authorization: Bearer t") as slow:
        for _ in range(3):
            time.sleep(IDLE_S)
            slow.sendall(b"x")
        slow.sendall(b"x" * 47)
        assert slow.recv(12).endswith(b" 200")


def test_a_large_body_is_read_before_its_refusal(site: Site) -> None:
    """Envoy would close the connection under a client that sends all of it first."""
    client, body = site.client(), b"x" * (50 << 20)
    asked = [("ep", "wrong", "blue", 401), ("ep", KEY, "red", 404), ("unknown", KEY, "blue", 404)]
    for name, key, deployment, status in asked:
        for pieces in (body, iter([body])):  # of a length that is told, and in chunks
            headers = {"Authorization": f"Bearer {key}", "azureml_model_deployment": deployment}
            answer = client.ask("POST", f"/endpoints/{name}/score", pieces, 20, **headers)
            assert answer.status == status and answer.headers["content-type"] == "application/json"
            assert "error" in answer.json and ("www-authenticate" in answer.headers) == (status == 401)
    client.close()


def test_half_of_a_large_body_without_a_key_is_a_408(site: Site) -> None:
    with begin(site, "/endpoints/ep/score", length=1 << 20) as half:
        assert half.recv(12).endswith(b" 408")


def test_half_a_request_to_an_endpoint_without_its_key_is_refused_at_once(site: Site) -> None:
    with begin(site, "/endpoints/ep/score") as half:
        assert half.recv(12).endswith(b" 401")
