"""What holds for every kind, because the protocol asks for it: one test over all of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import pytest
from pydantic import BaseModel

import smalt.kinds
from fakes.examples import EXAMPLES, prepare
from fakes.pipelines import component, data, node
from fakes.platform import WORKSPACE, Harness
from fakes.sweeps import document
from fakes.two_servers import TwoServers
from smalt.arm.registry import Kinds
from smalt.kinds.jobs.job import TYPES
from smalt.kinds.workspaces.supporting import SUPPORTS

KINDS = Kinds.scan(smalt.kinds)
# not for clients to PUT: what the platform makes, by itself or with a workspace
INTERNAL = {
    "subscriptions",
    *(one.kind for one in SUPPORTS.values()),
    *(key for key, kind in KINDS.items() if kind.admit is None),
}
PUT_ABLE = sorted(set(KINDS) - INTERNAL)
LENIENT = {  # names that Azure takes of these kinds
    "resourcegroups": ("naïve", "-leading"),
    "microsoft.authorization/locks": ("naïve", "-leading", "a b", "a;b"),
}


@pytest.fixture(params=["sqlite", "postgresql", "two-servers"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """On both databases, and with two servers on one."""
    if request.param == "sqlite":
        made = Harness(tmp_path)
        yield made
        made.close()
        return
    with request.getfixturevalue("framed").copied(tmp_path) as url:
        made = TwoServers(tmp_path, url) if request.param == "two-servers" else Harness(tmp_path, database_url=url)
        yield made
        made.close()


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) == set(PUT_ABLE)


@pytest.mark.parametrize("key", PUT_ABLE)
class TestEveryKind:
    def test_create_and_read_back(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        created = harness.put(example.url, example.body())
        assert created.status_code == KINDS[key].put_status, created.text
        harness.settle()
        read = harness.get(example.url + "?api-version=1999-01-01")
        assert read.status_code == 200
        document = read.json()
        assert document["id"].lower() == example.url.lower()
        assert document["name"] == example.url.rsplit("/", 1)[-1]
        assert document["type"] == f"{KINDS[key].provider}/{KINDS[key].path}"
        assert document["systemData"]["createdAt"] and document["systemData"]["lastModifiedAt"]
        assert document["properties"]["provisioningState"]
        assert read.headers["etag"] == document["etag"]

    def test_case_of_the_path_does_not_matter(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        harness.put(example.url, example.body())
        assert harness.get(example.url.upper()).json()["id"] == harness.get(example.url.lower()).json()["id"]

    def test_unknown_fields_survive(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        harness.put(example.url, example.body(fromTheFuture={"deep": [1, None]}))
        assert harness.get(example.url).json()["properties"]["fromTheFuture"] == {"deep": [1, None]}

    def test_missing_is_404_with_the_name(self, harness: Harness, key: str) -> None:
        url = EXAMPLES[key].url + "-missing"
        for needed in EXAMPLES[key].needs:
            harness.put(EXAMPLES[needed].url, EXAMPLES[needed].body())
        answer = harness.get(url)
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert error["code"] in ("ResourceNotFound", "ResourceGroupNotFound") and error["target"]

    def test_etag_guards_changes(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        harness.put(example.url, example.body())
        harness.settle()
        tag = harness.get(example.url).headers["etag"]
        changed = example.body(**dict([example.edit]))
        assert harness.put(example.url, changed, If_Match='"stale"').status_code == 412
        assert harness.put(example.url, changed, If_None_Match="*").status_code == 412
        accepted = harness.put(example.url, changed, If_Match=tag)
        assert accepted.status_code in (200, KINDS[key].put_status), accepted.text
        assert accepted.headers["etag"] != tag
        assert harness.put(example.url, changed, If_Match=tag).status_code == 412

    def test_the_same_put_twice_is_the_same(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        harness.put(example.url, example.body())
        harness.settle()
        again = harness.put(example.url, example.body())
        assert again.status_code in (200, KINDS[key].put_status), again.text

    def test_it_is_listed(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        harness.put(example.url, example.body())
        collection = example.url.rsplit("/", 1)[0]
        listed = harness.get(collection)
        assert listed.status_code == 200, listed.text
        assert example.url.lower() in [one["id"].lower() for one in listed.json()["value"]]

    def test_delete_then_gone(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        harness.put(example.url, example.body())
        if example.ended:
            harness.put(example.url, example.body(**dict(example.ended)))
        harness.settle()
        deleted = harness.send("DELETE", example.url)
        assert deleted.status_code in (200, 202), deleted.text
        harness.settle()
        assert harness.get(example.url).status_code == 404
        again = 404 if key == "resourcegroups" else 204  # as on Azure
        assert harness.send("DELETE", example.url).status_code == again
        if operation := deleted.headers.get("azure-asyncoperation"):
            assert harness.get(operation).json()["status"] == "Succeeded"

    def test_bad_names_are_refused(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        for name in ("a" * 300, "naïve", "a b", "-leading", "a\\b", "a;b", "..%2Fx"):
            if name in LENIENT.get(key, ()):
                continue
            url = example.url.rsplit("/", 1)[0] + "/" + quote(name, safe="%")
            answer = harness.put(url, example.body())
            assert answer.status_code in (400, 404), (name, answer.status_code, answer.text)
            if answer.status_code == 400:
                assert answer.json()["error"]["target"] == "name", answer.text
            else:
                assert name == "..%2Fx"

    def test_bodies_that_are_no_object(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        for body in (b"{", b"[1]", b'"text"', b"\xff\xfe"):
            answer = harness.put(example.url, body)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "InvalidRequestContent"

    def test_properties_must_be_an_object(self, harness: Harness, key: str) -> None:
        answer = harness.put(prepare(harness, key).url, {"properties": [1, 2]})
        assert answer.status_code == 400 and "properties" in answer.text

    @pytest.mark.parametrize(
        "harness", ["postgresql"], indirect=True
    )  # hundreds of requests; it takes less than SQLite
    def test_a_value_of_the_wrong_type_is_the_clients_mistake(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        cases = [(path, example.body()) for path in (("location",), ("tags",), ("identity",), ("sku",), ("kind",))]
        cases += [(("properties", *path), example.body()) for path in _paths(KINDS[key].properties)]
        for name, type_ in TYPES.items() if key == "workspaces/jobs" else ():
            body = example.body() if name == "Command" else {"properties": JOBS_OF_TYPES[name](harness)}
            assert harness.put(f"{example.url}-{name}", body).status_code == 201, name
            cases += [(("properties", *path), body) for path in _paths(type_.properties)]
        for number, ((path, body), value) in enumerate(product(cases, WRONG)):
            url = f"{example.url}{number}"
            answer = harness.put(url, _with(body, path, value))
            assert answer.status_code < 500, (path, value, answer.text)
            assert answer.status_code >= 400 or value != NEVER, (path, value, answer.text)
            assert harness.get(url).status_code in (200, 404), (path, value)
        assert harness.get(example.url.rsplit("/", 1)[0] + "?count=1000").status_code == 200

    def test_nothing_of_ours_is_shown(self, harness: Harness, key: str) -> None:
        example = prepare(harness, key)
        harness.put(example.url, {**example.body(), "smalt": {"cancel": True}})
        assert "smalt" not in harness.get(example.url).json()


JOBS_OF_TYPES = {
    "Pipeline": lambda harness: {"jobType": "Pipeline", "jobs": {"one": node(component(harness, "part"), data=data())}},
    "Sweep": lambda harness: document(),
}
NEVER = [["no property is a list of lists"]]
WRONG = [NEVER, "x", "PT1.2.3S", "²", "", 5, -1, 1.5, True, None, {"a": {"b": 1}}, ["a"]]


def _paths(model: Any) -> Iterator[tuple[str, ...]]:
    """Every property that the model declares, also within models and dictionaries of models."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return
    for name, one in model.model_fields.items():
        path = (one.alias or name,)
        yield path
        for part in get_args(one.annotation):
            yield from (path + below for below in _paths(part))
            for inner in get_args(part):
                for found in (inner, *get_args(inner)):
                    yield from ((*path, "some", *below) for below in _paths(found))
        yield from (path + below for below in _paths(one.annotation))


def _with(body: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(body)
    at = body
    for name in path[:-1]:
        if not isinstance(at.get(name), dict):
            at[name] = {}
        at = at[name]
    at[path[-1]] = value
    return body


@pytest.mark.parametrize("key", sorted(key for key in PUT_ABLE if KINDS[key].long_running))
def test_long_running_operations_end(harness: Harness, key: str) -> None:
    example = prepare(harness, key)
    created = harness.put(example.url, example.body(), User_Agent="azsdk-python-mgmt")
    operation = created.headers["azure-asyncoperation"]
    assert created.headers["x-ms-retry-after-ms"]
    harness.settle()
    for task in list(harness.engine.tasks):
        harness.engine.start(task)
        harness.engine.ready(task)
    harness.settle()
    answer = harness.get(operation)
    assert answer.json()["status"] == "Succeeded", answer.text
    assert harness.get(example.url).json()["properties"]["provisioningState"] == "Succeeded"


def test_paging_shows_everything_once(harness: Harness) -> None:
    for number in range(7):
        harness.put(f"{WORKSPACE}/computes/cluster{number}", EXAMPLES["workspaces/computes"].body())
    seen: list[str] = []
    url = f"{WORKSPACE}/computes?count=3&api-version=2023-08-01-preview"
    while url:
        page = harness.get(url).json()
        seen += [one["name"] for one in page["value"]]
        url = page.get("nextLink")
    assert seen == [f"cluster{number}" for number in reversed(range(7))]
    top = harness.get(f"{WORKSPACE}/computes?$top=1&$orderBy=createdtime asc").json()
    assert [one["name"] for one in top["value"]] == ["cluster0"] and "nextLink" not in top
    assert harness.get(f"{WORKSPACE}/computes?$top=zero").status_code == 400
    assert harness.get(f"{WORKSPACE}/computes?$skipToken=nonsense").status_code == 400


def test_a_missing_workspace_is_named_whatever_is_asked(harness: Harness) -> None:
    other = WORKSPACE.replace("/bank", "/nowhere")
    for url in (f"{other}/jobs/x", f"{other}/jobs", f"{other}/data/a/versions/1"):
        answer = harness.get(url)
        assert answer.status_code == 404 and "nowhere" in answer.json()["error"]["message"]


def test_a_huge_body_is_refused(harness: Harness) -> None:
    answer = harness.put(f"{WORKSPACE}/computes/big", b"x" * (17 * 1024 * 1024))
    assert answer.status_code == 413
