"""One platform for all end-to-end tests, and the official clients that talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live.clients import SDK, Client, client_python
from live.platform import Platform

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")).started() as one:
        yield one


@pytest.fixture(scope="session")
def client_of(platform: Platform) -> Callable[..., Client]:
    """A client of any version that was tried."""
    variables = platform.variables

    def of(version: str = SDK) -> Client:
        return Client(client_python(version), variables)

    return of


@pytest.fixture(scope="session")
def client(client_of: Callable[..., Client]) -> Client:
    return client_of()


@pytest.fixture(scope="session")
def scripts() -> Path:
    """User code: what it imports is in the client's environment, and nothing of ours."""
    return HERE / "client"
