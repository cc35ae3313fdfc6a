"""Where the gateway listens."""

from __future__ import annotations

import ipaddress
import socket


def addresses(host: str) -> list[str]:
    """Where to listen: this machine alone for a loopback name, everywhere for any other."""
    if not is_local(host):
        return ["0.0.0.0", "::"] if _can_bind("::") else ["0.0.0.0"]
    if host.lower() == "localhost":
        return ["127.0.0.1", "::1"] if _can_bind("::1") else ["127.0.0.1"]
    return [host]


def is_local(host: str) -> bool:
    """Whether nobody but this machine is let in."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _can_bind(address: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
