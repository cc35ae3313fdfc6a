"""Secrets that are passed to commands."""

from __future__ import annotations

import pytest

from smalt.auth.endpoint_keys import new_key
from smalt.auth.secret_words import new_secret_word


def test_none_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(["-one", "--two", "three-", "four"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda bytes_: next(made) if bytes_ == 32 else "")
    assert [new_secret_word(), new_key()] == ["three-", "four"]
