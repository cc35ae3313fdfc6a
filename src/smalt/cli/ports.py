"""Whether somebody has the one TLS port, and who."""

from __future__ import annotations

import errno
import socket

import psutil


def taken(port: int) -> str:
    """Why `port` cannot be listened on, or an empty text."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            probe = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # no such protocol on this machine
            continue
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
            except PermissionError:
                return f"port {port} needs more rights; choose one above 1023 with --port."
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return f"port {port} is in use{_by_whom(port)}; choose another with --port."
    return ""


def _by_whom(port: int) -> str:
    """` by NAME (process PID)` where this user may see it."""
    try:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr[1] == port and one.pid:
                return f" by {psutil.Process(one.pid).name()} (process {one.pid})"
    except (psutil.Error, OSError):
        pass
    return ""
