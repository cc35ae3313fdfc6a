"""No document, and no page of documents, is larger than the server and its clients can hold."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.platform import WORKSPACE, Harness
from smalt.arm.bounds import DOCUMENT_MOST, TAG_NAME_MOST, TAG_VALUE_MOST, TAGS_MOST, TEMPLATE_MOST
from smalt.store import resources
from smalt.store.pages import PAGE_BYTES

DATA = f"{WORKSPACE}/data/churn/versions"
MANY = {f"t{number}": "x" for number in range(TAGS_MOST + 1)}


def document(size: int, **more: Any) -> dict[str, Any]:
    """A data version whose body has about `size` bytes."""
    return {"properties": {"dataUri": "https://x/y", "dataType": "uri_file", "description": "x" * size, **more}}


@pytest.mark.parametrize("key", EXAMPLES)
def test_tags_of_every_kind_have_azures_limits(harness: Harness, key: str) -> None:
    example = prepare(harness, key)
    most = {**dict(list(MANY.items())[1:]), "n" * TAG_NAME_MOST: "v" * TAG_VALUE_MOST}
    most.pop("t1")
    for tags, field in ((MANY, ""), ({"n" * (TAG_NAME_MOST + 1): "v"}, ""), ({"n": "v" * (TAG_VALUE_MOST + 1)}, ".n")):
        for body, target in ((example.body(tags=tags), "properties.tags"), ({**example.body(), "tags": tags}, "tags")):
            answer = harness.put(example.url, body)
            assert (answer.status_code, answer.json()["error"]["target"]) == (400, target + field), answer.text
    assert harness.put(example.url, {**example.body(), "tags": most}).status_code in (200, 201, 202)


def test_tags_that_were_there_before_do_not_stand_in_the_way(harness: Harness) -> None:
    """MLflow's clients may give a model more than ARM takes; it can be archived all the same, and tags be taken away."""
    example = prepare(harness, "workspaces/models/versions")
    assert harness.put(example.url, example.body()).status_code == 201
    harness.settle()
    row, long = harness.row(example.url), {**MANY, "note": "x" * 5000}
    spec = {**row.spec, "properties": {**row.properties, "tags": long}}
    with harness.database.write() as connection:
        resources.replace_spec(connection, row, spec, state=row.state, now=harness.clock(), by="mlflow", due=False)
    assert harness.put(example.url, example.body(tags=long, isArchived=True)).status_code == 200
    assert harness.put(example.url, example.body(tags={**long, "one": "more"})).status_code == 400
    fewer = {name: value for name, value in long.items() if name != "t0"}
    assert harness.put(example.url, example.body(tags=fewer)).status_code == 200


def test_a_document_that_is_too_large_is_refused_with_advice(harness: Harness) -> None:
    assert harness.put(f"{DATA}/1", document(DOCUMENT_MOST - 200)).status_code == 201
    answer = harness.put(f"{DATA}/2", document(DOCUMENT_MOST))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "RequestEntityTooLarge")
    assert "upload" in answer.json()["error"]["message"]
    grown = {"properties": {"properties": {"more": "x" * 1000}}}
    assert harness.send("PATCH", f"{DATA}/1", grown).status_code == 413
    template = EXAMPLES["deployments"]
    for size, status in ((TEMPLATE_MOST - 1000, (200, 201, 202)), (TEMPLATE_MOST, (413,))):
        assert harness.put(template.url, template.body(template={"x": "x" * size})).status_code in status


def test_a_million_names_are_refused_at_once(harness: Harness) -> None:
    body = b'{"properties":{"tags":{%s}}}' % b",".join(b'"t%d":"x"' % number for number in range(1_000_000))
    began = time.process_time()
    assert harness.put(f"{DATA}/1", body).status_code == 413
    assert time.process_time() - began < 1


def test_so_many_wrong_fields_are_counted_and_not_all_listed(harness: Harness) -> None:
    variables = {f"v{number}": [] for number in range(20_000)}
    example = EXAMPLES["workspaces/jobs"]
    answer = harness.put(example.url, example.body(environmentVariables=variables))
    assert answer.status_code == 400 and len(answer.content) < 100_000
    assert answer.json()["error"]["message"].startswith("20000 fields")


def test_a_page_is_closed_when_it_holds_enough(harness: Harness) -> None:
    names = [str(number) for number in range(1, 21)]
    for name in names:
        assert harness.put(f"{DATA}/{name}", document(900_000, isArchived=name in ("3", "4"))).status_code == 201
    for view, wanted in (("ActiveOnly", [*names[:2], *names[4:]]), ("All", names)):
        found, url = [], f"{DATA}?listViewType={view}&$top=15"
        tracemalloc.start()
        while url:
            answer = harness.get(url)
            assert answer.status_code == 200 and len(answer.content) < PAGE_BYTES + 2 * DOCUMENT_MOST
            found += [one["name"] for one in answer.json()["value"]]
            url = answer.json().get("nextLink", "")
        assert tracemalloc.get_traced_memory()[1] < 10 * PAGE_BYTES
        tracemalloc.stop()
        assert found == wanted[::-1][:15]
