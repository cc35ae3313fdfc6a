"""What a machine says of itself when it dials in."""

from __future__ import annotations

import pytest

from smalt.engines.remote.loopback import loopback_id
from smalt.engines.remote.messages import Hello


@pytest.mark.parametrize(
    ("address", "loopback", "found"),
    [
        ("127.0.0.1", loopback_id(), "127.0.0.1"),
        ("127.0.0.1", "6f1c/net:[4026531840]", ""),  # another machine, through a tunnel
        ("127.0.0.1", loopback_id().partition("/")[0] + "/net:[1]", ""),  # a container of this one
        ("127.0.0.1", "", ""),
        ("192.0.2.1", "6f1c/net:[4026531840]", "192.0.2.1"),
        ("", loopback_id(), ""),
    ],
)
def test_loopback_is_the_servers_own_machine_alone(address: str, loopback: str, found: str) -> None:
    hello = Hello(
        incarnation="12345678",
        version="1",
        cpus=1,
        memory_bytes=1,
        gpus=0,
        isolation="walls",
        address=address,
        loopback=loopback,
    )
    assert hello.found_at == found
