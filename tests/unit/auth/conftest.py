"""A root of its own, a real SQLite database, and a clock that the test moves."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from fakes.databases import with_schema
from smalt.settings import Settings
from smalt.store.database import Database


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def sign_with_public_key() -> Callable[[RSAKey, Mapping[str, Any]], str]:
    """HS256 with the text of an RSA public key as its secret: the classic confusion of algorithms, made by hand."""

    def sign(key: RSAKey, claims: Mapping[str, Any]) -> str:
        parts = [json.dumps(one).encode() for one in ({"alg": "HS256", "typ": "JWT", "kid": key.kid}, claims)]
        text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        signature = hmac.digest(key.as_pem(private=False), text, "sha256")
        return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()

    return sign


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "root")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    settings.root.mkdir(parents=True, exist_ok=True)
    made = with_schema(settings.root / "smalt.db")
    yield made
    made.close()
