"""How large a search may be, and how many run at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from smalt.arm.errors import ArmError
from smalt.tracking.edge.searches import BODY_MOST, CLAUSES_MOST, QUERY_MOST, TEXT_MOST, Turns, check_search

RUNS = "/api/2.0/mlflow/runs/search"
MANY = " and ".join(["metrics.a > 1"] * (CLAUSES_MOST + 1))
FEW = " AND ".join(["metrics.a > 1"] * CLAUSES_MOST)
LONG = f"name = '{'x' * TEXT_MOST}'"
ROUTES = [
    RUNS,
    "/ajax-api/2.0/mlflow/runs/search",
    "/api/2.0/preview/mlflow/runs/search",
    "/api/2.0/mlflow/experiments/search",
    "/api/2.0/mlflow/registered-models/search",
    "/api/2.0/mlflow/model-versions/search",
    "/api/2.0/mlflow/logged-models/search",
    "/api/3.0/mlflow/traces/search",
    "/api/2.0/mlflow/unified-traces",
    "/api/3.0/mlflow/issues/search",
    "/api/3.0/mlflow/datasets/search",
    "/ajax-api/2.0/mlflow/experiments/search-datasets",
]


def refused(method: str, rest: str, query: str = "", content: Any = None) -> int:
    """The status, 0 where it is let through."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode() if content is not None else b""
    try:
        check_search(method, rest, query, body)
    except ArmError as error:
        return error.status
    return 0


@pytest.mark.parametrize("rest", ROUTES)
@pytest.mark.parametrize("text", [MANY, LONG], ids=["many", "long"])
@pytest.mark.parametrize("name", ["filter", "filter_string", "filterString", "order_by", "orderBy"])
def test_a_search_that_is_too_large_is_refused_on_every_route(rest: str, text: str, name: str) -> None:
    assert refused("POST", rest, content={name: text}) == 400
    assert refused("POST", rest, content={name: [{"field_name": text}]}) == 400
    assert refused("POST", rest, content=json.dumps(json.dumps({name: text})).encode()) == 400
    assert refused("POST", rest, content=json.dumps({name: text}).encode("utf-16")) == 400
    assert refused("GET", rest, f"{name}={text}") == 400
    assert refused("GET", rest, content={name: text}) == 400  # MLflow reads it where the URL says nothing


def test_every_column_of_an_order_counts() -> None:
    columns = [f"metrics.m{number}" for number in range(CLAUSES_MOST)]
    assert refused("POST", RUNS, content={"order_by": columns}) == 0
    assert refused("POST", RUNS, content={"order_by": columns, "filter": "metrics.a > 1"}) == 400
    assert refused("GET", RUNS, "&".join(f"order_by={one}" for one in [*columns, "x"])) == 400
    assert refused("GET", "/api/2.0/mlflow/traces", f"filter={MANY}") == 400


@pytest.mark.parametrize(
    "text", [FEW, "params.brand = 'a and b'", "name LIKE '%random%'", "", "metrics.sand > 1 AND tags.land = 'and'"]
)
def test_what_people_search_for_is_let_through(text: str) -> None:
    assert check_search("POST", RUNS, "", json.dumps({"filter": text, "experiment_ids": ["1"] * 1000}).encode())
    assert (
        refused("POST", RUNS, content=b"{") == refused("POST", RUNS, content=b"[" * 5000) == 0
    )  # for others to refuse
    assert refused("POST", RUNS, content=b" " * (BODY_MOST + 1)) == 413


def test_graphql() -> None:
    document = '{ mlflowSearchRuns(input: {filter: "%s"}) { runs { info { runId } } } }'
    ask = lambda text, **variables: refused("POST", "/graphql", content={"query": text, "variables": variables})  # noqa: E731
    assert ask(document % "metrics.a > 1") == 0
    assert ask(document % MANY) == ask(document % ("x" * QUERY_MOST)) == 400
    assert ask(document % MANY.replace("and", "\\u0061nd")) == ask(document % MANY.replace("and", "a\\u{6E}d")) == 400
    assert ask("query($i: X) { mlflowSearchRuns(input: $i) { x } }", i={"filter": MANY}) == 400
    assert check_search("POST", "/graphql", "", json.dumps({"query": document}).encode())
    assert not check_search(
        "POST", "/graphql", "", json.dumps({"query": "query GetRun { mlflowGetRun { x } }"}).encode()
    )


@pytest.mark.parametrize(
    "rest", ["/api/2.0/mlflow/runs/log-batch", "/api/2.0/mlflow/runs/get", "/api/2.0/mlflow/traces"]
)
def test_what_is_no_search_waits_for_no_turn(rest: str) -> None:
    assert not check_search("POST", rest, "", b'{"filter": "' + b"x" * 5000 + b'"}')


def test_one_principal_has_so_many_searches_and_leaves_room_for_others() -> None:
    async def main() -> None:
        turns, running, most, go = Turns(running=3, of_one=2, waiting=2), [0], [0], asyncio.Event()

        async def search(who: str) -> None:
            async with turns.turn(who):
                running[0] += 1
                most[0] = max(most[0], running[0])
                await go.wait()
                running[0] -= 1

        mine = [asyncio.create_task(search("a")) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(ArmError) as caught:
            await search("a")
        assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
        theirs = [asyncio.create_task(search("b")) for _ in range(4)]
        await asyncio.sleep(0.01)
        assert running[0] == 3
        go.set()
        await asyncio.gather(*mine, *theirs)
        assert (running[0], most[0]) == (0, 3)
        await search("a")

    asyncio.run(main())


def test_who_waited_too_long_is_told_to_come_again() -> None:
    async def main() -> None:
        turns = Turns(running=1, of_one=1, patience_s=0.01)
        async with turns.turn("a"):
            for who in "ab":
                with pytest.raises(ArmError) as caught:
                    async with turns.turn(who):
                        raise AssertionError("two at once")
                assert caught.value.status == 429
            with pytest.raises(TimeoutError):  # what the search itself says is its own
                async with Turns().turn("a"):
                    raise TimeoutError
        async with turns.turn("b"):
            pass

    asyncio.run(main())
