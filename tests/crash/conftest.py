"""A platform that may be killed: started once for all crash tests, which leave it running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from live.platform import Platform


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("victim")).started() as one:
        assert one.submit("warm", "true").status_code == 201  # the plain environment is built
        one.wait_for("warm", "Completed", timeout_s=90)
        yield one


@pytest.fixture
def platform(victim: Platform) -> Platform:
    """Running, whatever the test before did to it."""
    if not victim.is_up():
        victim.up()
    victim.wait_until_it_answers()
    return victim
