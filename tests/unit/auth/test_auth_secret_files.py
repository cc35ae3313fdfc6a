"""What secrets come to when a file of them is damaged: the platform says so, and nothing is opened with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smalt.auth.identity_headers import IdentityHeaders
from smalt.auth.keyring import Keyring
from smalt.auth.owner import owner_principal
from smalt.auth.sealing import Sealer
from smalt.auth.tokens import TokenService
from smalt.settings import Settings, SettingsError

_KEEPERS: list[tuple[str, Callable[[Settings], Any]]] = [
    ("msi", IdentityHeaders),
    ("owner.json", owner_principal),
    ("keyring.json", Keyring),
    ("token-keys.json", TokenService),
    ("sealing.key", lambda settings: Sealer(settings, "test")),
]


@pytest.mark.parametrize(("name", "keeper"), _KEEPERS)
def test_an_empty_file_of_a_secret_is_said_to_be_damaged(
    tmp_path: Path, name: str, keeper: Callable[[Settings], Any]
) -> None:
    """Of the owner's header above all: who sends none would be the owner."""
    keeper(Settings(tmp_path))
    path = Settings(tmp_path).secrets / name
    whole = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(SettingsError, match=f"{name} is damaged"):
        keeper(Settings(tmp_path))
    assert path.read_bytes() == b""  # nothing is made in its place: what it stood for may be restored
    path.write_bytes(whole)
    keeper(Settings(tmp_path))


@pytest.mark.parametrize(("name", "keeper"), [one for one in _KEEPERS if one[0].endswith(".json")])
def test_half_a_file_of_a_secret_is_said_to_be_damaged_and_not_shown(
    tmp_path: Path, name: str, keeper: Callable[[Settings], Any]
) -> None:
    keeper(Settings(tmp_path))
    path = Settings(tmp_path).secrets / name
    for torn in (path.read_bytes()[:-20], path.read_bytes() * 2, b'{"keys": []}', b"[]"):
        path.write_bytes(torn)
        with pytest.raises(SettingsError) as error:
            keeper(Settings(tmp_path))
        assert str(error.value) == f"{path} is damaged: restore it from a backup of this root."
