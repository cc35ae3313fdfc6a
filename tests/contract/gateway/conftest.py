"""Gives every test module here an Envoy of its own; `gateway_site` has what they share."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # with importlib's import mode, siblings are not importable otherwise

from gateway_site import Site

from live.ports import free_port
from smalt.auth.certificates import ensure_certificates
from smalt.auth.tokens import TokenService
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.settings import Settings


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    settings = Settings(folder, "localhost", free_port())
    ensure_certificates(settings)
    tokens = TokenService(settings)
    made = Site(settings, tokens, EnvoyGateway(settings, tokens))
    made.gateway.write_bootstrap()
    try:
        made.start_envoy()
        yield made
    finally:
        made.close()
        print((folder / "envoy.log").read_text()[-3000:], file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
