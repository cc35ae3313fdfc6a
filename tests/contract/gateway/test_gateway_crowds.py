"""One address opens all connections there may be, and says nothing: the others are served all the same."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from gateway_site import Site, standing, wait

from live.patience import ANSWER_S
from smalt.gateway.crowds import Room

ROOM = Room(320)
NAT, CROWD, OTHER = "127.0.0.5", "127.0.0.3", "127.0.0.2"


@pytest.fixture(params=["localhost", "0.0.0.0"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with standing(ROOM, request.param, own=list) as made:  # all its addresses are others'
        made.server()
        stopped = threading.Event()
        thread = threading.Thread(target=made.gateway.crowds.run, args=(stopped,))
        thread.start()
        try:
            yield made
        finally:
            stopped.set()
            thread.join()


def context(site: Site) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(site.settings.tls / "ca.pem"))


def plain(site: Site, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.settings.port), timeout=ANSWER_S, source_address=(source, 0))


def silent(site: Site, source: str, count: int) -> list[ssl.SSLSocket]:
    """So many connections that ask nothing, or as many as are let in."""
    trusted, made = context(site), list[ssl.SSLSocket]()
    with contextlib.suppress(OSError):
        for _ in range(count):
            made.append(trusted.wrap_socket(plain(site, source), server_hostname="localhost"))
    return made


def kept(site: Site, source: str) -> http.client.HTTPSConnection:
    """A connection that has asked once, and may ask again."""
    made = http.client.HTTPSConnection(
        "127.0.0.1", site.settings.port, context=context(site), timeout=ANSWER_S, source_address=(source, 0)
    )
    made.connect()
    return made


def asks(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/x", headers={"Host": "localhost"})
    answer = connection.getresponse()
    answer.read()
    assert not answer.will_close
    return answer.status


def served(site: Site, source: str) -> bool:
    try:
        with contextlib.closing(kept(site, source)) as connection:
            return asks(connection) == 200
    except OSError:
        return False


@pytest.mark.parametrize("handshake", [True, False])
def test_a_crowd_keeps_nobody_out(site: Site, handshake: bool) -> None:
    crowd = silent(site, CROWD, ROOM.total) if handshake else [plain(site, CROWD) for _ in range(ROOM.total)]
    assert len(crowd) > ROOM.crowd
    wait(lambda: served(site, OTHER))
    wait(lambda: len(silent(site, CROWD, ROOM.total)) <= ROOM.bound)
    wait(lambda: served(site, OTHER))
    for one in crowd:
        one.close()


def test_many_who_share_an_address_go_on_and_so_does_who_was_there(site: Site) -> None:
    there = [kept(site, NAT) for _ in range(ROOM.crowd - 5)]
    assert {asks(one) for one in there} == {200}
    crowd = [kept(site, CROWD) for _ in range(ROOM.crowd + 1)]
    wait(lambda: len(silent(site, CROWD, ROOM.crowd)) <= ROOM.bound)
    assert {asks(one) for one in [*there, *crowd]} == {200}
    assert served(site, NAT)
    for one in [*there, *crowd]:
        one.close()
