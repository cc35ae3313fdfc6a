"""What a task names, and where it listens: no paths of any machine."""

from __future__ import annotations

from typing import NamedTuple


class Ref(NamedTuple):
    """A blob, or all blobs below a folder: then `name` ends with `/`. JSON: a list of the three."""

    account: str
    container: str
    name: str

    def below(self, name: str) -> Ref:
        """What is called `name` in this folder."""
        folder = self.name.removesuffix("/")
        return self._replace(name=f"{folder}/{name}" if folder else name)


class Address(str):
    """Where a server listens: `unix:PATH`, or `HOST:PORT` with an IP address as host (`127.0.0.1:80`, `[::1]:80`).

    `tls:NAME@HOST:PORT`: on another machine, whose forwarder knows it by that name, and lets the gateway in alone.
    """

    __slots__ = ()

    @property
    def path(self) -> str:
        """Of the unix socket; empty where it is a port."""
        return self.removeprefix("unix:") if self.startswith("unix:") else ""

    @property
    def name(self) -> str:
        """What it is asked for by, and what the forwarder's certificate is for; empty where there is no forwarder."""
        return self.removeprefix("tls:").partition("@")[0] if self.startswith("tls:") else ""

    @property
    def host(self) -> str:
        return "" if self.path else self.rpartition(":")[0].rpartition("@")[2].strip("[]")

    @property
    def port(self) -> int:
        """Raises ValueError for what is no address."""
        return 0 if self.path else int(self.rpartition(":")[2])


NOWHERE = Address()  # of what does not listen
