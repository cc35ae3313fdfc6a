"""What is stored can be read for ever: JSON that no answer can hold is refused before anything is written."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.platform import WORKSPACE
from smalt.arm.body import DEPTH_MOST, parsed
from smalt.arm.errors import ArmError

VERSIONS = f"{WORKSPACE}/data/churn/versions"
NO_JSON = [
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 5000, b'"\\ud800"', b'"\xed\xa0\x80"', b'{"\\udfff": 1}',
    b'{"a": ["\\ud83d"]}', b"[" * DEPTH_MOST + b"]" * DEPTH_MOST, b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("value", NO_JSON, ids=lambda value: value[:20].decode("latin-1"))
def test_what_no_answer_can_hold_is_never_stored(harness: Any, value: bytes) -> None:
    body = b'{"properties": {"dataUri": "https://x/y", "dataType": "uri_file", "x": %b}}' % value
    answer = harness.put(f"{VERSIONS}/1", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent"), answer.text
    assert harness.get(f"{VERSIONS}/1").status_code == 404
    assert harness.put(f"{VERSIONS}/2", {"properties": {"dataUri": "https://x/y"}}).status_code == 201
    assert [one["name"] for one in harness.get(VERSIONS).json()["value"]] == ["2"]


@pytest.mark.parametrize("text", [b'{"a": "\\ud83d\\ude00"}', '{"a": "😀"}'.encode(), '{"a": "😀"}'.encode("utf-16")])
def test_a_whole_pair_is_a_character(text: bytes) -> None:
    assert parsed(text) == {"a": "😀"}


def test_levels_up_to_the_limit() -> None:
    deep = b'{"a":' * DEPTH_MOST + b"1" + b"}" * DEPTH_MOST
    assert parsed(deep)["a"]
    with pytest.raises(ArmError, match="levels"):
        parsed(b'{"a":' + deep + b"}")


def test_a_long_body_is_read_too(harness: Any) -> None:
    given = {f"t{number}": "é" * 100 for number in range(1000)}
    assert (
        harness.put(f"{VERSIONS}/1", {"properties": {"dataUri": "https://x/y", "properties": given}}).status_code == 201
    )
    assert harness.get(f"{VERSIONS}/1").json()["properties"]["properties"] == given
