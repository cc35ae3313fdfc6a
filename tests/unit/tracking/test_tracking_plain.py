"""Bodies that MLflow's databases cannot keep are MLflow's to answer, however they say it."""

from __future__ import annotations

import json

import pytest

from smalt.tracking.store.plain import is_unusual


@pytest.mark.parametrize("body", [b'"\\u0000"', b'"\\ud83d"', b'"\xed\xa0\x80"', b'"\xed\xbf\xbf"'])
def test_what_cannot_be_kept(body: bytes) -> None:
    json.loads(body)  # JSON takes it
    assert is_unusual(body)


@pytest.mark.parametrize("text", ["plain", "Größe", "日本", "😀", "\ud7ff", "\ue000", "í ï"])
def test_other_text(text: str) -> None:
    assert not is_unusual(json.dumps(text, ensure_ascii=False).encode())
