"""Tokens and signatures that are wrong in one respect each, made from good ones as an attacker would."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from live.patience import ANSWER_S


def unsigned(token: str) -> str:
    """The same claims with `alg: none` and no signature."""
    header, claims, _ = token.split(".")
    return f"{_encoded({**_decoded(header), 'alg': 'none'})}.{claims}."


def other_claims(token: str, **changed: Any) -> str:
    """Other claims under the old signature."""
    header, claims, signature = token.split(".")
    return f"{header}.{_encoded({**_decoded(claims), **changed})}.{signature}"


def container_sas(account: str, key: str, container: str, permission: str = "rwdlac", minutes: float = 10) -> str:
    """As azure-storage-blob signs it. `minutes` from now, negative for one that is over."""
    return generate_container_sas(
        account,
        container,
        account_key=key,
        permission=ContainerSasPermissions.from_string(permission),
        expiry=datetime.now(UTC) + timedelta(minutes=minutes),
    )


def raw_request(port: int, ca: Path, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and the whole answer for a request line and headers that no client would send; `head` without the blank line."""
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection(("localhost", port), timeout=ANSWER_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(f"{head}\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode() + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer


def _decoded(part: str) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def _encoded(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
