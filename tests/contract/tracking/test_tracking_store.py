"""What is answered on MLflow's tables is what MLflow answers, call by call, and leaves the same rows.

Each call is made twice: to a run through the edge, and to its twin straight at MLflow's process.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import mlflow.store.db.utils as stock
import pytest
from sqlalchemy import select

from smalt.arm.ports import RunSpec
from smalt.tracking.address import mlflow_name, tracking_uri
from smalt.tracking.database import schema
from smalt.tracking.process.upstream import Upstream

RUNS = "/api/2.0/mlflow/runs"
NOW = 1_800_000_000_000
Call = tuple[str, dict[str, Any], bool]  # verb, body, whether it is answered without MLflow's process


def metric(key: str = "m", value: Any = 1.5, timestamp: Any = NOW, step: Any = 0, **more: Any) -> dict[str, Any]:
    return {"key": key, "value": value, "timestamp": timestamp, "step": step, **more}


def batch(*metrics: Any, **more: Any) -> dict[str, Any]:
    return {"metrics": list(metrics), **more}


def pair(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


ONE_BY_ONE: dict[str, list[Call]] = {
    "values": [
        ("log-metric", metric(value=value, step=step), ours)
        for step, (value, ours) in enumerate(
            [
                (1, True), (-0.0, True), (0.1 + 0.2, True), (5e-324, True), (1.7e308, True), ("NaN", True),
                ("Infinity", True), ("-Infinity", True), (2**62 + 1, True), ("1.5", False), ("inf", False),
                (True, False), (None, False), ([], False), ("x", False), ("", False), (2**70, False),
            ]
        )
    ],
    "what is not a value of JSON": [("log-metric", metric(value=one), False) for one in (math.nan, math.inf, -math.inf)],
    "the latest": [
        ("log-metric", metric(value=value, timestamp=at, step=step), True)
        for value, at, step in [
            (1.0, 5, 3), (2.0, 9, 2), (3.0, 4, 3), (0.5, 5, 3), (9.0, 5, 3), ("NaN", 5, 3), (-1.0, 0, -7), (7.0, 6, 4),
            ("NaN", 6, 5), (0.0, 6, 5), (-0.0, 6, 5), (0.0, 7, 5), ("NaN", 7, 5),
        ]
    ],
    "the same again": [("log-metric", metric(), True), ("log-metric", metric(), True)] * 2,
    "times and steps": [
        ("log-metric", {"key": "no step", "value": 1, "timestamp": 0}, True),
        *(("log-metric", metric("t", timestamp=at), False) for at in (-1, "7", 7.0, 7.5, None, "x", True, 2**63)),
        *(("log-metric", metric("s", step=step), False) for step in ("7", 7.0, 7.5, None, "x", 2**63)),
        ("log-metric", metric("s", step=-(2**63)), True),
        ("log-metric", metric("t", timestamp=2**63 - 1, step=2**63 - 1), True),
    ],
    "missing": [
        ("log-metric", {name: value for name, value in metric().items() if name != left}, False)
        for left in ("key", "value", "timestamp")
    ],
    "names": [
        (verb, {**metric(), "key": key} if verb == "log-metric" else pair(key, "v"), ours)
        for verb in ("log-metric", "log-parameter", "set-tag")
        for key, ours in [
            ("a/b", True), ("a.b-c_d: e", True), ("größe", True), ("k" * 250, True), ("k" * 251, False), ("", False),
            (".", False), ("..", False), ("../a", False), ("/a", False), ("a//b", False), ("a/", False), ("a\n", False),
            ("a,b", False), ("a\0", False), (5, False), (None, False), ("..a", False), (".a", True),
        ]
    ],
    "fields that are not known here": [
        ("log-metric", metric(model_id="m-1"), False),
        ("log-metric", metric(dataset_name="d"), False),
        ("log-metric", metric(dataset_name="d", dataset_digest="1"), False),
        ("log-metric", metric(another=1), False),
        ("set-tag", {**pair("t", "v"), "another": 1}, False),
        ("log-batch", batch(metric(model_id="")), False),
        ("log-batch", batch(metric(run_id="other")), False),
    ],
    "parameters": [
        ("log-parameter", pair("p", "1"), True),
        ("log-parameter", pair("p", "1"), True),
        ("log-parameter", pair("p", "2"), False),
        ("log-parameter", pair("empty", ""), True),
        ("log-parameter", {"key": "none"}, False),
        ("log-parameter", pair("number", 5), False),
        ("log-parameter", pair("long", "v" * 6000), True),
        ("log-parameter", pair("longer", "v" * 6001), False),
        ("log-parameter", pair("letters", "ä\U0001f600"), False),
        ("log-batch", batch(params=[pair("p", "1"), pair("q", "2")]), True),
        ("log-batch", batch(metric("with"), params=[pair("p", "3"), pair("r", "4")]), False),
        ("log-batch", batch(params=[pair("s", "1"), pair("s", "1")]), False),
        ("log-batch", batch(params=[{"key": "u"}]), False),
    ],
    "tags": [
        ("set-tag", pair("t", "1"), True),
        ("set-tag", pair("t", "2"), True),
        ("set-tag", pair("t", ""), True),
        ("set-tag", pair("long", "v" * 8000), True),
        ("set-tag", pair("longer", "v" * 8001), False),
        ("set-tag", pair("mlflow.note.content", "told"), True),
        ("set-tag", pair("mlflow.runName", "renamed"), False),
        ("log-batch", batch(tags=[pair("t", "3"), pair("u", "1"), pair("u", "2")]), True),
        ("log-batch", batch(tags=[pair("mlflow.runName", "again"), pair("v", "1")]), False),
    ],
    "batches": [
        ("log-batch", {}, True),
        ("log-batch", batch(), True),
        ("log-batch", batch(metric(), metric(), metric("n"), metric(value=2)), True),
        ("log-batch", batch(metric(value=2), metric("o", "NaN"), metric("o", "NaN"), metric("o", 0)), True),
        ("log-batch", batch(metric("z", 0.0), metric("z", "NaN"), metric("z", -1)), True),
        ("log-batch", batch(*(metric(f"k{n % 7}", n, NOW + n % 3, n % 11) for n in range(1000))), True),
        ("log-batch", batch(*(metric("many", n, step=n) for n in range(1001))), False),
        ("log-batch", batch(*(metric("x", n) for n in range(950)), params=[pair(f"x{n}", "1") for n in range(51)]), False),
        ("log-batch", batch(params=[pair(f"y{n}", "1") for n in range(100)]), True),
        ("log-batch", batch(params=[pair(f"z{n}", "1") for n in range(101)]), False),
        ("log-batch", batch(tags=[pair(f"z{n}", "1") for n in range(101)]), False),
        ("log-batch", batch(metric("first"), metric("", 1)), False),
        ("log-batch", batch(metric("first"), {"key": "no value"}), False),
        ("log-batch", {"metrics": None}, False),
        ("log-batch", {"metrics": {}}, False),
        ("log-batch", {"metrics": [1]}, False),
        ("log-batch", {"run_uuid": "x"}, False),
    ],
}  # fmt: skip


class Twins:
    """`ours` and `theirs` are runs alike; `asked`: how often MLflow's process was asked through the edge."""

    def __init__(self, site: Any, name: str) -> None:
        self.site, self.asked = site, 0
        self.ours, self.theirs = f"ours-of-{name}"[:250], f"twin-of-{name}"[:250]
        for run in (self.ours, self.theirs):
            spec = RunSpec(site.alpha.key, run, "twins", "Alike", "ada", {"a": "b"}, started_at=5.0)
            site.tracking.ensure_run(spec)
        self.edge = site.client()
        self.stock = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(site.settings.mlflow_socket)),
            base_url="http://mlflow",
            headers={"X-MLFLOW-WORKSPACE": mlflow_name(site.alpha)},
            timeout=60,
        )

    def post(self, verb: str, body: Any, plain: bool) -> None:
        """The same from both, without MLflow's process if `plain`, and else from it."""
        before = self.asked
        ours = self.edge.post(f"{RUNS}/{verb}", **_sent(body, self.ours))
        told, case = self.asked - before, (verb, json.dumps(body)[:300])
        if ours.status_code == 400 and not told:  # the edge's own refusal (`bodies.py`)
            assert not plain, case
            return
        theirs = self.stock.post(f"{RUNS}/{verb}", **_sent(body, self.theirs))
        assert (told == 0) == plain, case
        assert self._said(ours) == self._said(theirs), case

    def get(self, plain: bool = True) -> None:
        before = self.asked
        ours = self.edge.get(f"{RUNS}/get", params={"run_id": self.ours, "run_uuid": self.ours})
        assert (self.asked == before) == plain
        theirs = self.stock.get(f"{RUNS}/get", params={"run_id": self.theirs, "run_uuid": self.theirs})
        assert self._said(ours) == self._said(theirs)

    def same_rows(self) -> None:
        with self.site.tracking.database.read() as connection:
            for table in (schema.metrics, schema.latest_metrics, schema.params, schema.tags):
                columns = [column for column in table.columns if column.name != "run_uuid"]
                ours, theirs = (
                    sorted(map(tuple, connection.execute(select(*columns).where(table.c.run_uuid == run))))
                    for run in (self.ours, self.theirs)
                )
                assert ours == theirs, table.name

    def _said(self, answer: httpx.Response) -> Any:
        text = answer.text.replace(self.ours, "RUN").replace(self.theirs, "RUN")
        said = json.loads(text)
        for listed in (said.get("run") or {}).get("data", {}).values():
            listed.sort(key=lambda one: one["key"])
        return answer.status_code, answer.headers["content-type"], said


def _sent(body: Any, run: str) -> dict[str, Any]:
    content = json.dumps({"run_id": run, **body}) if isinstance(body, dict) else body.replace("RUN", run)
    return {"content": content.encode(), "headers": {"content-type": "application/json"}}


@pytest.fixture
def twins(site: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twins]:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    made = Twins(site, name)
    send = Upstream.send

    async def counted(self: Upstream, *sent: Any) -> httpx.Response:
        made.asked += 1
        return await send(self, *sent)

    monkeypatch.setattr(Upstream, "send", counted)
    yield made
    made.edge.close()
    made.stock.close()


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_calls_are_answered_as_by_mlflow(twins: Twins, name: str) -> None:
    for verb, body, plain in ONE_BY_ONE[name]:
        twins.post(verb, body, plain)
        twins.same_rows()
    twins.get()


def test_bodies_that_are_odd_as_a_whole(twins: Twins) -> None:
    for body in ("{}", "[]", '"x"', "{", "", '{"run_id": 5}', '{"run_id": "RUN", "key": "k", "value": 1e999}'):
        for verb in ("log-metric", "log-batch"):
            if body not in ("[]", '"x"', ""):
                twins.post(verb, body, False)
    twins.post("set-tag", '{"run_id": "RUN", "run_uuid": "RUN", "key": "k", "value": "\\ud83d\\ude00"}', False)
    twins.post("set-tag", '{"run_id": "RUN", "run_uuid": "RUN", "key": "k", "value": "😀"}', True)
    twins.post("log-metric", '{"run_uuid": "RUN", "key": "k", "value": 1, "timestamp": 1}', False)
    twins.post("log-metric", '{"run_id": "RUN", "run_uuid": "x", "key": "k", "value": 1, "timestamp": 1}', False)
    twins.same_rows()
    twins.get()


def test_runs_that_are_not_there_are_deleted_or_of_another_workspace(twins: Twins) -> None:
    twins.site.tracking.ensure_run(RunSpec(twins.site.beta.key, "in-beta", "e"))
    bodies = {
        "log-metric": metric(),
        "log-batch": batch(metric()),
        "log-parameter": pair("p", "1"),
        "set-tag": pair("t", "1"),
    }
    for verb, body in bodies.items():
        for run in ("nowhere", "in-beta", "-", "a b", ""):
            twins.post(verb, {**body, "run_id": run}, False)
    ended = {"status": "FINISHED", "end_time": 7}
    twins.post("update", ended, False)
    for verb, body in bodies.items():
        twins.post(verb, body, True)  # a run that has ended is logged to all the same
    twins.get()
    twins.post("delete", {}, False)
    for verb, body in bodies.items():
        twins.post(verb, body, False)
    twins.get()
    twins.same_rows()
    for run in ("nowhere", "in-beta"):
        ours, theirs = (one.get(f"{RUNS}/get", params={"run_id": run}) for one in (twins.edge, twins.stock))
        assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json()) and ours.status_code == 404


def test_runs_with_models_and_data_sets(twins: Twins) -> None:
    twins.post("outputs", {"models": [{"model_id": "m-1", "step": 3}]}, False)
    twins.post("log-inputs", {"models": [{"model_id": "m-2"}]}, False)
    twins.get()
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "s"}
    twins.post("log-inputs", {"datasets": [{"tags": [], "dataset": dataset}]}, False)
    twins.get()


def test_what_is_written_is_for_the_schema_that_this_mlflow_makes() -> None:
    assert stock._get_latest_schema_revision() == schema.REVISION


def test_with_another_schema_everything_is_mlflows(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.tracking.store.logged.REVISION", "another")
    twins.post("log-metric", metric(), False)
    twins.get(plain=False)


def together(site: Any, of_each: Callable[[int, httpx.AsyncClient], Any], jobs: int) -> None:
    async def all_of_them() -> None:
        limits = httpx.Limits(max_connections=jobs, keepalive_expiry=3)  # the server's is 5 s: they would meet
        verify = ssl.create_default_context(cafile=site.settings.tls / "ca.pem")
        headers = {"Authorization": f"Bearer {site.token()}"}
        base = tracking_uri(site.settings, site.alpha)
        async with httpx.AsyncClient(
            base_url=base, headers=headers, verify=verify, timeout=120, limits=limits
        ) as client:
            await asyncio.gather(*(of_each(job, client) for job in range(jobs)))

    asyncio.run(all_of_them())


def test_a_hundred_jobs_that_log_at_once_lose_nothing(site: Any) -> None:
    """Some of it through MLflow's process, which writes to the same tables at the same time."""
    jobs, times, keys = 100, 6, 10
    for job in range(jobs):
        site.tracking.ensure_run(RunSpec(site.alpha.key, f"at-once-{job}", "at once"))

    async def log(job: int, client: httpx.AsyncClient) -> None:
        run = f"at-once-{job}"
        for step in range(times):
            metrics = [metric(f"k{key}", step + key, NOW, step) for key in range(keys)]
            mlflows = job % 20 == 0 and step == times - 1
            if mlflows:
                metrics[0]["timestamp"] = str(NOW)
            sent = {"run_id": run, "metrics": metrics, "params": [pair("job", str(job))]}
            (await client.post(f"{RUNS}/log-batch", json=sent)).raise_for_status()
            one = {"run_id": run, **metric("one", job, NOW, step)}
            (await client.post(f"{RUNS}/log-metric", json=one)).raise_for_status()
            shared = {"run_id": "at-once-0", **metric("shared", job, NOW, step)}
            (await client.post(f"{RUNS}/log-metric", json=shared)).raise_for_status()

    together(site, log, jobs)
    with site.tracking.database.read() as connection:
        found = connection.execute(select(schema.metrics).where(schema.metrics.c.run_uuid.startswith("at-once-"))).all()
        latest = connection.execute(
            select(schema.latest_metrics).where(schema.latest_metrics.c.run_uuid.startswith("at-once-"))
        ).all()
    assert len(found) == jobs * times * (keys + 2)
    assert len(latest) == jobs * (keys + 1) + 1
    values = {(row.run_uuid, row.key): (row.step, row.value) for row in latest}
    assert values["at-once-0", "shared"] == (times - 1, jobs - 1)
    assert all(values[f"at-once-{job}", "k3"] == (times - 1, times + 2) for job in range(jobs))


def test_of_two_values_of_a_parameter_one_wins(site: Any) -> None:
    site.tracking.ensure_run(RunSpec(site.alpha.key, "one-wins", "e"))
    answers: dict[str, int] = {}

    async def log(job: int, client: httpx.AsyncClient) -> None:
        sent = {"run_id": "one-wins", "key": "p", "value": str(job)}
        answers[str(job)] = (await client.post(f"{RUNS}/log-parameter", json=sent)).status_code

    together(site, log, 20)
    kept = site.tracking.parameters(site.alpha.key, "one-wins")["p"]
    assert answers == {value: 200 if value == kept else 400 for value in answers}
