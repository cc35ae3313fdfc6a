"""Data collection of a replica that runs: by the package azureml-ai-monitoring as it is, by HTTP, and without code."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from live.inference import Server, server
from live.patience import PATIENCE_S

COLLECTING = """
import json, os, types
import pandas as pd
from azureml.ai.monitoring import Collector

def init():
    global inputs, outputs
    inputs, outputs = Collector(name="model_inputs"), Collector(name="model_outputs")
    if os.environ.get("BY_HTTP"):
        from azureml.ai.monitoring.worker import get_worker
        sender = get_worker()._sender
        sender._post_request = types.MethodType(type(sender)._post_request, sender)

def run(raw_data):
    frame = pd.DataFrame(json.loads(raw_data)["rows"])
    context = inputs.collect(frame)
    outputs.collect(pd.DataFrame({"sum": frame.sum(axis=1)}), context)
    return frame.sum(axis=1).tolist()
"""
POSTING = """
import json, os, urllib.error, urllib.request

def init():
    pass

def run(raw_data):
    asked = json.loads(raw_data)
    place = os.environ["AZUREML_MDC_HOST"] + ":" + os.environ["AZUREML_MDC_PORT"]
    url = "http://" + place + asked.get("path", "/modeldata/log")
    headers = {"Content-Type": "application/json", "ce-time": "5", **asked.get("headers", {})}
    method = asked.get("method", "POST")
    request = urllib.request.Request(url, asked["body"].encode() if method == "POST" else None, headers, method=method)
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code
"""


def collector(folder: Path, *names: str, rate: float = 1.0) -> dict[str, object]:
    collections = {name: {"folder": str(folder / name), "rate": rate} for name in names}
    return {"collections": collections, "instance": "srv-1", "source": "/me"}


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for one in (folder / name).rglob("*.jsonl") for line in one.read_text().splitlines()]


def stopped(one: Server) -> None:
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(PATIENCE_S) == 0, one.errors()


def post_all(one: Server, bodies: list[dict]) -> list[tuple[int, bytes]]:
    answers: list[tuple[int, bytes]] = []
    share = [threading.Thread(target=lambda at=at: answers.extend(map(one.post, bodies[at::4]))) for at in range(4)]
    for thread in share:
        thread.start()
    for thread in share:
        thread.join()
    return answers


@pytest.mark.parametrize("way", ["short", "http"])
def test_the_package_collects_all_until_a_clean_stop(serving_python: Path, tmp_path: Path, way: str) -> None:
    kept = tmp_path / "kept"
    variables = {"BY_HTTP": "1"} if way == "http" else {}
    config = collector(kept, "model_inputs", "model_outputs")
    with server(tmp_path, COLLECTING, str(serving_python), variables, max_concurrent=2, collector=config) as one:
        one.until(200)
        count = 40 if way == "http" else 200
        answers = post_all(one, [{"rows": [{"a": at, "b": 1}, {"a": at, "b": 2}]} for at in range(count)])
        assert {status for status, _ in answers} == {200}, one.errors()
        stopped(one)
    inputs, outputs = lines(kept, "model_inputs"), lines(kept, "model_outputs")
    assert sorted(line["data"][0]["a"] for line in inputs) == list(range(count))
    sums = {line["correlationid"]: line["data"] for line in outputs}
    assert len(sums) == count
    for line in inputs:
        assert [row["sum"] for row in sums[line["correlationid"]]] == [row["a"] + row["b"] for row in line["data"]]
        assert line["collectdatatype"] == "pandas.core.frame.DataFrame" and line["modelversion"] == "default"
        assert line["agent"].startswith("azureml-ai-monitoring/") and line["xrequestid"] == line["correlationid"]


@pytest.mark.parametrize("names", [(), ("request",)])
def test_a_script_that_collects_also_runs_where_nothing_of_it_is_collected(
    serving_python: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    config = collector(tmp_path / "kept", *names) if names else {}
    with server(tmp_path, COLLECTING, str(serving_python), collector=config) as one:
        one.until(200)
        assert one.post({"rows": [{"a": 1, "b": 2}]}) == (200, b"[3]")


def test_a_collection_that_the_deployment_does_not_have_is_the_packages_error(
    serving_python: Path, tmp_path: Path
) -> None:
    with server(tmp_path, COLLECTING, str(serving_python), collector=collector(tmp_path, "model_inputs")) as one:
        assert one.process.wait(PATIENCE_S) == 3
        assert "collection model_outputs is not enabled" in one.errors()


def test_what_is_posted_is_written_before_it_is_answered(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with server(tmp_path, POSTING, collector=collector(kept, "own")) as one:
        one.until(200)
        own = {"ce-type": "azureml.inference.own", "ce-x-request-id": "r", "ce-agent": "mine/1"}
        assert one.post({"body": '[{"a": 1}]', "headers": own}) == (200, b"200")
        (line,) = lines(kept, "own")
        assert (line["data"], line["agent"], line["correlationid"]) == ([{"a": 1}], "mine/1", "r")
        assert line["time"] == "1970-01-01T00:00:05Z"
        assert one.post({"body": "[]", "headers": {"ce-type": "azureml.inference.none"}}) == (200, b"400")
        assert one.post({"body": "[]"}) == (200, b"400")
        assert one.post({"body": "[]", "path": "/other"}) == (200, b"404")
        assert one.post({"body": "", "method": "GET"}) == (200, b"405")


def test_requests_and_answers_are_collected_with_their_ids(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with server(tmp_path, collector=collector(kept, "request", "response")) as one:
        one.until(200)
        assert one.post({"a": 1})[0] == 200
        assert one.post({"raise": "x"})[0] == 424
        stopped(one)
    asked = {line["correlationid"]: line for line in lines(kept, "request")}
    answered = {line["correlationid"]: line for line in lines(kept, "response")}
    assert len(asked) == len(answered) == 2 and asked.keys() == answered.keys()
    data = {json.dumps(line["data"]): answered[id_]["data"] for id_, line in asked.items()}
    assert data['{"a": 1}']["got"] == {"a": 1} and "message" in data['{"raise": "x"}']
