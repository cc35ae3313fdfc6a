"""A search of runs that is answered on MLflow's tables finds what MLflow finds, page by page.

Each is asked twice, of the same rows: through the edge, and straight at MLflow's process.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from smalt.tracking.address import mlflow_name
from smalt.tracking.process.upstream import Upstream

API = "/api/2.0/mlflow"
SEARCH = f"{API}/runs/search"
NUMBERS = [-3.5, -1, 0, 0.1, 0.25, 1, 2, 7, 1e308, 5e-324, "NaN", "Infinity", "-Infinity"]
WORDS = ["", "a", "A", "ab", "a_b", "a%b", "größe", "GRÖSSE", "100%", "32", "x;y", "-- no", "z" * 200, "a b"]


class Asked:
    """`process`: how often MLflow's process was asked through the edge; `experiments` are alpha's, and one of beta's."""

    def __init__(self, site: Any) -> None:
        self.site, self.process, self.experiments = site, 0, list[str]()
        self.edge = site.client()
        self.stock = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(site.settings.mlflow_socket)),
            base_url="http://mlflow",
            headers={"X-MLFLOW-WORKSPACE": mlflow_name(site.alpha)},
            timeout=60,
        )

    def compare(self, body: Any, plain: bool) -> dict[str, Any]:
        """The answer, which both gave; `plain`: without MLflow's process."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content": content, "headers": {"content-type": "application/json"}}
        before = self.process
        ours, case = self.edge.post(SEARCH, **sent), content[:400]
        told = self.process - before
        theirs = self.stock.post(SEARCH, **sent)
        if ours.status_code == 400 and not told and not plain:  # the edge's own refusal (`bodies.py`)
            return {}
        assert (told == 0) == plain, case
        assert _said(ours) == _said(theirs), case
        return ours.json()

    def find(self, text: str = "", plain: bool = True, **more: Any) -> list[str]:
        """The names of the runs that are found."""
        body = {"experiment_ids": self.experiments, "filter": text, "run_view_type": "ALL", **more}
        return [run["info"]["run_name"] for run in self.compare(body, plain).get("runs", [])]


def _said(answer: httpx.Response) -> Any:
    said = answer.json()
    for run in said.get("runs", []):
        for listed in run["data"].values():
            listed.sort(key=lambda one: one["key"])
        for listed in run["inputs"].values():
            for one in listed:
                one.get("tags", []).sort(key=json.dumps)
            listed.sort(key=json.dumps)
    return answer.status_code, answer.headers["content-type"], said


@pytest.fixture(scope="module")
def filled(site: Any) -> list[str]:
    """Experiments with runs of all sorts: two of alpha, one of beta."""
    made: list[str] = []
    chosen = random.Random(8)
    for workspace, name, runs in ((site.alpha, "many", 40), (site.alpha, "few", 5), (site.beta, "hidden", 2)):
        with site.client(workspace) as client:

            def post(path: str, client: httpx.Client = client, **body: Any) -> dict[str, Any]:
                answer = client.post(f"{API}/{path}", json=body)
                assert answer.status_code == 200, answer.text
                return answer.json()

            experiment = post("experiments/create", name=f"searched {name}")["experiment_id"]
            made.append(experiment)
            for number in range(runs):
                tags = [{"key": "team", "value": WORDS[number % len(WORDS)]}] if number % 3 else []
                created = post(
                    "runs/create",
                    experiment_id=experiment,
                    start_time=1000 + number // 3,
                    tags=tags,
                    run_name=f"{'Run' if number % 2 else 'run'} {number} of {name}",
                    user_id="ada" if number % 4 else "Bo",
                )
                run = created["run"]["info"]["run_id"]
                metrics = [
                    {"key": key, "value": chosen.choice(NUMBERS), "timestamp": 5, "step": 0}
                    for key in ("loss", "val/loss", "a b")
                    if chosen.random() < 0.7
                ]
                params = [
                    {"key": key, "value": chosen.choice(WORDS)}
                    for key in ("size", "batch size", "mlflow.x")
                    if chosen.random() < 0.7
                ]
                post("runs/log-batch", run_id=run, metrics=metrics, params=params)
                if number % 5 == 1:
                    post(
                        "runs/update", run_id=run, status=chosen.choice(["FINISHED", "FAILED"]), end_time=2000 + number
                    )
                if number % 7 == 2:
                    used = {"name": f"d{number % 2}", "digest": "1", "source_type": "local", "source": "s"}
                    more = {"schema": "{}", "profile": "p"} if number % 2 else {}
                    said = [{"key": "mlflow.data.context", "value": "train"}, {"key": "k", "value": "v"}]
                    post("runs/log-inputs", run_id=run, datasets=[{"tags": said[: number % 3], "dataset": used | more}])
                if number % 11 == 3:
                    post("runs/log-inputs", run_id=run, models=[{"model_id": "m-1"}])
                    post("runs/outputs", run_id=run, models=[{"model_id": "m-2", "step": 3}])
                if number % 6 == 4:
                    post("runs/delete", run_id=run)
    return made


@pytest.fixture
def asked(site: Any, filled: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    made = Asked(site)
    made.experiments = filled
    send = Upstream.send

    async def counted(self: Upstream, *sent: Any) -> httpx.Response:
        made.process += 1
        return await send(self, *sent)

    monkeypatch.setattr(Upstream, "send", counted)
    yield made
    made.edge.close()
    made.stock.close()


FILTERS = {
    "": True,
    "metrics.loss > 0": True,
    "metrics.loss != 0": True,
    "metrics.loss = 0": True,
    'metric.`val/loss` <= 0.25 and metrics."a b" >= -1': True,
    "params.size = '32'": True,
    "params.size != '32'": True,
    "params.size LIKE 'a%'": True,
    "params.size LIKE 'A%'": True,
    "params.size ILIKE 'A_B'": True,
    "params.size ILIKE 'GRÖ%'": True,
    "params.`batch size` IS NULL AND params.mlflow.x IS NOT NULL": True,
    "tags.team = ''": True,
    "tags.team ILIKE '%B'": True,
    "tags.mlflow.runName LIKE 'Run%'": True,
    "run_name LIKE 'run 1%'": True,
    "attributes.run_name ILIKE 'run 1%'": True,
    "attributes.\"Run name\" = 'run 2 of many'": True,
    "status = 'RUNNING'": True,
    "attributes.status != 'RUNNING' AND end_time > 2005": True,
    "start_time >= 1003 AND created < 1010": True,
    "user_id = 'Bo'": True,
    "attributes.user_id IN ('Bo')": False,
    "run_id IN ('no', 'none')": True,
    "run_id NOT IN ('no')": True,
    "dataset.name = 'd0'": True,
    "datasets.name LIKE 'D%'": True,
    "dataset.name ILIKE 'D%'": True,
    "dataset.digest ILIKE '1'": True,
    "dataset.context ILIKE 'TR%'": True,
    "dataset.digest IN ('1', '2') AND metrics.loss < 1": True,
    "dataset.context = 'train'": True,
    "dataset.context NOT IN ('test')": True,
    "artifact_uri LIKE 'https://%'": True,
    "metrics.loss > 0 OR metrics.loss < 0": False,
    "metrics.loss > '0'": False,
    "metrics.loss LIKE 'x'": False,
    "params.size = 32": False,
    "params.size > '3'": False,
    "params.created = 'x'": False,
    "start_time > 1003.5": False,
    "start_time = '1'": False,
    "nothing = 'x'": False,
    "metrics. > 1": False,
    "metrics.loss": False,
    " ": False,
    "tags.team IS NULL  ": False,
    "dataset.source = 's'": False,
    "params.size = 'it''s'": False,
    "(metrics.loss > 0)": False,
    "models.x = 'y'": False,
}


@pytest.mark.parametrize("text", FILTERS)
def test_filters(asked: Asked, text: str) -> None:
    asked.find(text, FILTERS[text])


def test_what_is_found_is_not_nothing(asked: Asked) -> None:
    """That all of it finds some, and not all, of the runs: else the comparison says little."""
    everything = asked.find(max_results=1000)
    assert len(everything) == 45 and all("hidden" not in name for name in everything)
    for text, plain in FILTERS.items():
        if plain and text and "none" not in text and "NOT IN" not in text and "artifact" not in text:
            found = asked.find(text, max_results=1000)
            assert len(found) < 45 and (found or text in {"datasets.name LIKE 'D%'"}), text


ORDERS = [
    ["metrics.loss"], ["metrics.loss DESC"], ["metric.`val/loss` asc", "params.size desc"], ["tags.team", "metrics.loss DESC"],
    ["params.`batch size` DESC"], ["start_time ASC"], ["attributes.start_time DESC"], ["end_time"], ["end_time DESC"],
    ["run_name"], ["attributes.status", "user_id DESC"], ["created", "run_id"], ["metrics.none"], ["artifact_uri DESC"],
]  # fmt: skip
ODD_ORDERS = [
    ["metrics.loss", "metrics.loss DESC"], ["start_time", "created"], ["loss"], ["metrics.loss down"], ["dataset.name"], [""],
    ["metrics.loss, params.size"], [" metrics.loss"], ["attributes.`run name`"], [5], [None],
]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_orders(asked: Asked, order: list[str]) -> None:
    found = asked.find(order_by=order)
    assert len(found) == 45


@pytest.mark.parametrize("order", ODD_ORDERS, ids=str)
def test_orders_that_are_odd(asked: Asked, order: list[Any]) -> None:
    asked.find(plain=False, order_by=order)


def test_many_at_random(asked: Asked) -> None:
    chosen = random.Random(4)
    texts = [text for text, plain in FILTERS.items() if plain and text]
    columns = [column for order in ORDERS for column in order if "start_time" not in column and "created" not in column]
    for _ in range(150):
        parts = chosen.sample(texts, chosen.choice([1, 1, 2, 3]))
        order = {one.split()[0]: one for one in chosen.sample(columns, chosen.choice([0, 1, 2]))}
        asked.find(
            " AND ".join(parts),
            order_by=list(order.values()),
            max_results=chosen.choice([1, 3, 100]),
            run_view_type=chosen.choice(["ALL", "ACTIVE_ONLY", "DELETED_ONLY"]),
            experiment_ids=chosen.sample(asked.experiments, chosen.choice([1, 2, 3])),
        )


def test_pages_of_both_follow_each_other(asked: Asked) -> None:
    body = {"experiment_ids": asked.experiments, "max_results": 7, "order_by": ["metrics.loss DESC"]}
    seen: list[str] = []
    token = ""
    while True:
        answer = asked.compare({**body, "page_token": token} if token else body, plain=True)
        seen += [run["info"]["run_id"] for run in answer["runs"]]
        token = answer.get("next_page_token", "")
        if not token:
            break
    assert len(seen) == len(set(seen)) == 38
    beyond = base64.b64encode(b'{"offset": 999}').decode()
    assert asked.compare({**body, "page_token": beyond}, plain=True) == {}
    for odd in ("x", "e30=", base64.b64encode(b'{"offset": -1}').decode(), base64.b64encode(b"[]").decode(), "é"):
        asked.compare({**body, "page_token": odd}, plain=False)


def test_fields_of_the_request(asked: Asked) -> None:
    one = {"experiment_ids": asked.experiments[:1]}
    for more in (
        {},
        {"max_results": 1},
        {"max_results": 1000},
        {"page_token": ""},
        {"order_by": []},
        {"run_view_type": "ALL"},
        {"run_view_type": "DELETED_ONLY"},
        {"experiment_ids": ["999999"]},
        {"experiment_ids": asked.experiments[2:]},
    ):
        asked.compare({**one, **more}, plain=True)
    for more in (
        {"max_results": 0}, {"max_results": -1}, {"max_results": 1001}, {"max_results": 50001}, {"max_results": "5"},
        {"max_results": 2.5}, {"max_results": None}, {"filter": None}, {"filter": 5}, {"order_by": "metrics.loss"},
        {"run_view_type": 3}, {"run_view_type": "all"}, {"experiment_ids": []}, {"experiment_ids": ["x"]},
        {"experiment_ids": [1]}, {"experiment_ids": "1"}, {"another": 1}, {"maxResults": 1}, {"experiment_ids": ["-1"]},
    ):  # fmt: skip
        asked.compare({**one, **more}, plain=False)
    for body in (b"{}", b"[]", b"", b"{", b'"{}"', b'{"experiment_ids": ["1"], "filter": "tags.a = \'\\u0000\'"}'):
        asked.compare(body, plain=False)


def test_experiment_0_is_the_workspaces_default_one(asked: Asked) -> None:
    created = asked.edge.post(f"{API}/runs/create", json={"experiment_id": "0", "run_name": "in default"})
    assert created.status_code == 200
    run = created.json()["run"]["info"]
    before = asked.process
    found = asked.edge.post(SEARCH, json={"experiment_ids": ["0"], "filter": f"run_id = '{run['run_id']}'"}).json()
    assert [one["info"]["experiment_id"] for one in found["runs"]] == [run["experiment_id"]]
    assert asked.process == before


def test_a_page_that_holds_too_much_is_mlflows(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.tracking.store.run_documents._ROWS_MOST", 20)
    asked.find("", plain=False)
    monkeypatch.setattr("smalt.tracking.store.run_documents._ROWS_MOST", 50_000)
    monkeypatch.setattr("smalt.tracking.store.run_documents._DATASETS_MOST", 2)
    asked.find("", plain=False)


def test_with_another_schema_searches_are_mlflows(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.tracking.store.logged.REVISION", "another")
    asked.find("", plain=False)


def test_searches_through_the_plugin_say_azureml_uris(asked: Asked) -> None:
    path = f"/mlflow/v2.0{asked.site.alpha}{SEARCH}"
    before = asked.process
    sent = {"experiment_ids": asked.experiments, "max_results": 2}
    found = asked.edge.post(f"{asked.site.settings.url}{path}", json=sent).json()["runs"]
    assert all(run["info"]["artifact_uri"].startswith("azureml://") for run in found) and asked.process == before
