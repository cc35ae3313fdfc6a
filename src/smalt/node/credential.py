"""The file with which a machine dials in: where to, as whom, its token, and whose certificates it trusts there."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit


class CredentialError(Exception):
    """One line: what is wrong with the file."""


@dataclass(frozen=True)
class Credential:
    """`server` is https://HOST:PORT; `ca` holds certificates (PEM)."""

    server: str
    name: str
    token: str
    ca: str

    @classmethod
    def read(cls, path: Path) -> Self:
        try:
            made = cls(**json.loads(path.read_text()))
        except OSError as error:
            raise CredentialError(f"{path} cannot be read: {error.strerror}") from error
        except (TypeError, ValueError) as error:
            raise CredentialError(f"{path} is no file of `smalt node add`: {error}") from error
        if not all(isinstance(one, str) for one in asdict(made).values()):
            raise CredentialError(f"{path} is no file of `smalt node add`: server, name, token and ca are texts")
        return made

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def write(self, path: Path) -> None:
        """A new file that only its owner reads. Raises OSError, also where there is one already."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(self.to_json())
        except OSError:
            path.unlink()  # half a file would keep the next try from it
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Host and port. Raises CredentialError."""
        try:
            parts = urlsplit(self.server)
            if parts.scheme != "https" or not parts.hostname or not parts.port:
                raise ValueError
        except ValueError:
            raise CredentialError(f"the server is {self.server!r:.80}: it must be https://HOST:PORT") from None
        return parts.hostname, parts.port

    def trust(self) -> ssl.SSLContext:
        """Those certificates alone."""
        try:
            context = ssl.create_default_context(cadata=self.ca)
        except (ssl.SSLError, ValueError) as error:
            raise CredentialError(f"the certificates of the server (ca) cannot be read: {error}") from error
        return context
