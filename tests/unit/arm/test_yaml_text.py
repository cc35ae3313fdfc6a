"""YAML of users: what it says, and nothing that grows when it is read."""

from __future__ import annotations

import pytest
import yaml

from smalt.arm.yaml_text import HasAliases, read_yaml


@pytest.mark.parametrize("text", ["a: 1\nb: [x, 'y & z']", b"a: 1\nb: [x, 'y & z']", "# & *\na: 1\nb: [x, y & z]"])
def test_what_it_says(text: str | bytes) -> None:
    assert read_yaml(text) in ({"a": 1, "b": ["x", "y & z"]},)


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x", b"a: &x [1]\nb: [*x, *x]", "a: &x {b: 1}\nc: {<<: *x}"])
def test_aliases(text: str | bytes) -> None:
    with pytest.raises(HasAliases, match="write the entries out"):
        read_yaml(text)


@pytest.mark.parametrize("text", ["a: [", "a: 2026-13-45", b"\xff\xfe\x00", "[" * 20_000])
def test_what_is_none(text: str | bytes) -> None:
    with pytest.raises((yaml.YAMLError, ValueError, RecursionError)):
        read_yaml(text)
