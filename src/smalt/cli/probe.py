"""Whether the platform answers, asked the way that clients ask: TLS, our certificate authority, Envoy, the server."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from dataclasses import dataclass

from smalt.settings import Settings

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Probe:
    """The CA's certificate is read for each question: it is made, or replaced, while the programs start."""

    settings: Settings

    async def answers(self) -> bool:
        """True if `GET /healthz` is a 200. On this machine whatever the host's name resolves to."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._status() == 200
        except (OSError, ssl.SSLError, TimeoutError, ValueError, IndexError):
            return False

    async def _status(self) -> int:
        host, port = self.settings.host, self.settings.port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.settings.tls / "ca.pem")
        reader, writer = await asyncio.open_connection(_address(host), port, ssl=context, server_hostname=host)
        try:
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            line = await reader.readline()
            return int(line.split()[1])
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


def _address(host: str) -> str:
    """Where the gateway listens for sure: a loopback address as given, else (also) 127.0.0.1."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    return "127.0.0.1"
