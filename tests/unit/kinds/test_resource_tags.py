"""Tags as a resource of their own: they are those of what they hang on."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import prepare
from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.settings import SUBSCRIPTION

SUB = f"/subscriptions/{SUBSCRIPTION}"
TAGS = "/providers/Microsoft.Resources/tags/default"


def patch(harness: Harness, scope: str, operation: Any, tags: Any) -> Any:
    return harness.send("PATCH", f"{scope}{TAGS}", {"operation": operation, "properties": {"tags": tags}})


@pytest.mark.parametrize("scope", [SUB, GROUP, WORKSPACE])
def test_they_are_the_resources_own(harness: Harness, scope: str) -> None:
    made = harness.put(f"{scope}{TAGS}", {"properties": {"tags": {"Team": "risk", "env": "dev"}}})
    assert made.status_code == 200, made.text
    assert made.json() == harness.get(f"{scope.upper()}{TAGS.lower()}").json() | {"id": f"{scope}{TAGS}"}
    assert harness.get(scope).json()["tags"] == {"Team": "risk", "env": "dev"}
    merged = patch(harness, scope, "Merge", {"TEAM": "fraud", "new": "1"})
    assert merged.json()["properties"]["tags"] == {"Team": "fraud", "env": "dev", "new": "1"}
    removed = patch(harness, scope, "delete", {"ENV": "", "team": "other", "new": "1"})
    assert removed.json()["properties"]["tags"] == {"Team": "fraud"}
    assert patch(harness, scope, "Replace", {"a": "b"}).json()["properties"]["tags"] == {"a": "b"}
    assert harness.send("DELETE", f"{scope}{TAGS}").status_code == 200
    assert harness.get(f"{scope}{TAGS}").json()["properties"]["tags"] == {}
    assert harness.get(scope).json().get("tags", {}) == {}
    harness.settle()
    assert harness.get(scope).status_code == 200


def test_of_an_endpoint(harness: Harness) -> None:
    example = prepare(harness, "workspaces/onlineendpoints")
    harness.put(example.url, example.body())
    assert patch(harness, example.url, "Merge", {"a": "b"}).status_code == 200
    assert harness.get(example.url).json()["tags"]["a"] == "b"


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({}, "operation"),
        ({"operation": "Add", "properties": {"tags": {}}}, "operation"),
        ({"operation": "Merge"}, "properties.tags"),
        ({"operation": "Merge", "properties": {"tags": ["a"]}}, "properties.tags"),
        ({"operation": "Merge", "properties": {"tags": {"a": {"b": 1}}}}, "tags.a"),
        ({"operation": "Merge", "properties": {"tags": {"n" * 600: "x"}}}, "tags"),
        ({"operation": ["Merge"], "properties": {"tags": {}}}, "operation"),
    ],
)
def test_bad_input(harness: Harness, body: Any, target: str) -> None:
    answer = harness.send("PATCH", f"{WORKSPACE}{TAGS}", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["target"].startswith(target)
    assert not harness.get(WORKSPACE).json().get("tags")


def test_what_has_none(harness: Harness) -> None:
    job = prepare(harness, "workspaces/jobs")
    harness.put(job.url, job.body())
    for method in ("GET", "PUT"):
        answer = harness.send(method, f"{job.url}{TAGS}", None if method == "GET" else {"properties": {"tags": {}}})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "TagsNotSupported")
    for url in (
        f"{WORKSPACE}-none{TAGS}",
        WORKSPACE + TAGS.replace("default", "other"),
        f"{WORKSPACE}/x/y{TAGS}",
        TAGS,
    ):
        assert harness.get(url).status_code in (400, 404), url
        assert harness.put(url, {"properties": {"tags": {"a": "b"}}}).status_code in (400, 404), url
    assert harness.send("POST", f"{WORKSPACE}{TAGS}", {}).status_code == 405


def test_what_comes_between_is_not_lost(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes another tag after this change was read and before it is written."""
    written = harness.crud._patch  # pyright: ignore[reportPrivateUsage]
    others = ["one", "two"]

    def between(request: Any, tag: str) -> Any:
        if others:
            name = others.pop()
            tags = harness.get(WORKSPACE).json().get("tags") or {}
            harness.send("PATCH", WORKSPACE, {"tags": {**tags, name: "x"}})
        return written(request, tag)

    monkeypatch.setattr(harness.crud, "_patch", between)
    assert patch(harness, WORKSPACE, "Merge", {"mine": "1"}).status_code == 200
    assert harness.get(WORKSPACE).json()["tags"] == {"one": "x", "two": "x", "mine": "1"}
