"""Metric alerts: fired and resolved once each, whoever is restarted; told to webhooks at allowed addresses, with tries."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.platform import GROUP, Harness
from smalt.kinds.insights import conditions, metric_alert
from smalt.kinds.insights.action_group import refused
from smalt.kinds.insights.conditions import Condition
from smalt.kinds.insights.metric_alert import notices_of
from smalt.kinds.insights.watch import Watch
from smalt.metrics.names import LATENCY, REQUESTS
from smalt.metrics.recorder import Recorder
from smalt.settings import Settings
from smalt.store import series

ALERT = EXAMPLES["microsoft.insights/metricalerts"].url
ACTIONS = EXAMPLES["microsoft.insights/actiongroups"].url
ENDPOINT = EXAMPLES["workspaces/onlineendpoints"].url
BLUE = f"{ENDPOINT}/deployments/blue"


class Receiver:
    """Somebody's webhook. `answers`: the statuses that it gives, the last again and again."""

    def __init__(self) -> None:
        self.answers = [200]
        self.heard: list[Any] = []
        self.keys: set[str] = set()
        self.meanwhile: list[Callable[[], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.keys.add(self.headers["idempotency-key"])
                outer.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                while outer.meanwhile:
                    outer.meanwhile.pop()()
                self.send_response(outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0])
                self.send_header("location", f"http://localhost:{outer.port}/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("localhost", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def uri(self) -> str:
        return f"http://localhost:{self.port}/hook?code=secret"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Site:
    def __init__(self, root: Any, hook: Receiver, **properties: Any) -> None:
        hook.heard, hook.answers, hook.keys = [], [200], set()
        self.harness = Harness(root, webhook_hosts=f"localhost:{hook.port}")
        self.recorder = Recorder(self.harness.clock)
        prepare(self.harness, "workspaces/onlineendpoints/deployments")
        self.harness.put(BLUE, EXAMPLES["workspaces/onlineendpoints/deployments"].body())
        receivers = [{"name": "ops", "serviceUri": hook.uri, "useCommonAlertSchema": True}]
        group = {"groupShortName": "ops", "webhookReceivers": receivers}
        answer = self.harness.put(ACTIONS, {"location": "Global", "properties": group})
        assert answer.status_code == 201, answer.text
        answer = self.harness.put(ALERT, EXAMPLES["microsoft.insights/metricalerts"].body(**properties))
        assert answer.status_code == 200, answer.text
        self.restart()

    def restart(self) -> None:
        self.watch = Watch(self.harness.platform)
        self.harness.platform.hub.follow(self.watch.changed)

    def answer(self, ms: float, after_s: float = 10.0, count: int = 20) -> None:
        self.harness.clock.pass_(after_s)
        for _ in range(count):
            self.recorder.record(BLUE, LATENCY.name, ms, spread=True)
            self.recorder.record(BLUE, REQUESTS.name, 1, {"statusCode": "200", "statusCodeClass": "2xx"})
        self.look()

    def look(self) -> None:
        self.recorder.flush(self.harness.database)
        self.watch.look()
        self.harness.settle()

    @property
    def calm_since(self) -> Any:
        return self.harness.row(ALERT).status.get("calm_since")

    @property
    def state(self) -> str:
        return str(self.harness.get(ALERT).json()["properties"]["alertState"]["monitorCondition"])


@pytest.fixture
def site(tmp_path: Any, hook: Receiver) -> Iterator[Site]:
    made = Site(tmp_path, hook)
    yield made
    made.harness.close()


def test_it_fires_once_and_is_resolved_once(site: Site, hook: Receiver) -> None:
    for _ in range(3):
        site.answer(50)
    assert site.state == "Resolved" and not hook.heard
    for _ in range(3):
        site.answer(800)
    assert site.state == "Fired" and len(hook.heard) == 1
    (said,) = hook.heard
    essentials = said["data"]["essentials"]
    assert said["schemaId"] == "azureMonitorCommonAlertSchema"
    assert (essentials["alertRule"], essentials["severity"], essentials["monitorCondition"]) == (
        "slow",
        "Sev2",
        "Fired",
    )
    (part,) = said["data"]["alertContext"]["condition"]["allOf"]
    assert part["metricName"] == "RequestLatency_P99" and 700 < part["metricValue"] < 900
    assert "deployment blue" in said["data"]["customProperties"]["lastChange"]
    status = site.harness.get(f"{ALERT}/status").json()["value"][0]["properties"]["status"]
    assert status == "Unhealthy"
    site.restart()
    site.answer(800)
    assert len(hook.heard) == 1
    for _ in range(40):
        site.answer(50)
    assert site.state == "Resolved" and len(hook.heard) == 2
    resolved = hook.heard[1]["data"]["essentials"]
    assert resolved["monitorCondition"] == "Resolved" and resolved["resolvedDateTime"]
    assert resolved["originAlertId"] == essentials["originAlertId"]
    feed = site.harness.get(f"{ALERT}/changes").json()["value"]
    assert [one["to"] for one in feed if one["to"] in ("Fired", "Resolved")] == ["Fired", "Resolved"]


def test_how_long_it_is_calm_outlives_a_restart(site: Site, hook: Receiver) -> None:
    site.answer(800)
    begun = site.harness.clock()
    while site.state == "Fired":
        site.answer(50)
        site.restart()
        assert site.harness.clock() < begun + 600
    calm_since, resolved_at = site.calm_since, site.harness.row(ALERT).status["resolved_at"]
    assert calm_since is None and len(hook.heard) == 2
    assert resolved_at - begun < 300 + 180 + 60, "the window, three looks and not one that begins anew"


def test_it_is_calm_anew_when_its_condition_held_meanwhile(site: Site) -> None:
    site.answer(800)
    while site.calm_since is None:
        site.answer(50)
    site.answer(800, count=2000)
    assert site.calm_since is None and site.state == "Fired"


def test_a_notice_is_told_once_though_the_rule_is_changed_meanwhile(site: Site, hook: Receiver) -> None:
    """The step that tells it is dropped then."""
    body = EXAMPLES["microsoft.insights/metricalerts"].body(severity=1)
    hook.meanwhile.append(lambda: site.harness.put(ALERT, body))
    site.answer(800)
    for _ in range(3):
        site.answer(800)
    assert not hook.meanwhile and len(hook.heard) == 1 == len(hook.keys)


def test_each_try_of_a_notice_has_its_key(site: Site, hook: Receiver) -> None:
    hook.answers = [500, 200]
    site.answer(800)
    site.harness.clock.pass_(10)
    site.harness.settle()
    for _ in range(40):
        site.answer(50)
    assert len(hook.heard) == 3 and len(hook.keys) == 2


def test_a_receiver_that_fails_is_tried_again_and_in_the_end_not(site: Site, hook: Receiver) -> None:
    hook.answers = [500, 302, 200]
    site.answer(800)
    assert len(hook.heard) == 1
    for _ in range(2):
        site.harness.clock.pass_(10)
        site.harness.settle()
    assert len(hook.heard) == 3 and not notices_of(site.harness.row(ALERT).status)
    hook.answers = [500]
    for _ in range(40):
        site.answer(50)
    for _ in range(20):
        site.harness.clock.pass_(400)
        site.harness.settle()
    assert len(hook.heard) == 3 + 8 and not notices_of(site.harness.row(ALERT).status)


def test_no_traffic_is_a_condition_too(tmp_path: Any, hook: Receiver) -> None:
    silent = {
        "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
        "allOf": [
            {"name": "silent", "metricName": "RequestsPerMinute", "operator": "LessThan", "threshold": 1,
             "timeAggregation": "Total"}
        ],
    }  # fmt: skip
    site = Site(tmp_path, hook, criteria=silent)
    site.answer(5)
    assert site.state == "Resolved"
    site.harness.clock.pass_(180)
    site.look()
    assert site.state == "Fired"
    site.harness.close()


def test_only_the_statuses_that_are_named(tmp_path: Any, hook: Receiver) -> None:
    dimension = {"name": "statusCodeClass", "operator": "Include", "values": ["5xx"]}
    failing = {
        "allOf": [
            {"name": "5xx", "metricName": "RequestsPerMinute", "operator": "GreaterThan", "threshold": 3,
             "timeAggregation": "Total", "dimensions": [dimension]}
        ],
    }  # fmt: skip
    site = Site(tmp_path, hook, criteria=failing)
    site.answer(5, count=50)
    assert site.state == "Resolved"
    for _ in range(30):
        site.recorder.record(BLUE, REQUESTS.name, 1, {"statusCode": "503", "statusCodeClass": "5xx"})
    site.look()
    assert site.state == "Fired" and "5xx" in hook.heard[0]["data"]["customProperties"]["reason"]
    site.harness.close()


def test_what_could_never_fire_is_refused(harness: Harness) -> None:
    prepare(harness, "microsoft.insights/metricalerts")
    example = EXAMPLES["microsoft.insights/metricalerts"]
    (condition,) = example.body()["properties"]["criteria"]["allOf"]
    for name, status in (("colour", 400), ("deployment", 200), ("STATUSCODE", 400)):  # of latency
        dimension = {"name": name, "operator": "Include", "values": ["*"]}
        answer = harness.put(ALERT, example.body(criteria={"allOf": [{**condition, "dimensions": [dimension]}]}))
        assert answer.status_code == status, answer.text
        if status == 400:
            assert answer.json()["error"]["target"] == "properties.criteria.allOf.0.dimensions.0"
    answer = harness.put(ALERT, example.body(windowSize="PT1M", evaluationFrequency="PT5M"))
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, "properties.windowSize")


def test_what_cannot_be_sent_is_refused(harness: Harness) -> None:
    def put(**more: Any) -> Any:
        answer = harness.put(ACTIONS, {"location": "Global", "properties": {"groupShortName": "ops", **more}})
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]

    assert put(emailReceivers=[{"name": "a", "emailAddress": "a@b.example"}])["target"] == "properties.emailReceivers"
    error = put(webhookReceivers=[{"name": "a", "serviceUri": "https://hooks.example/x?code=abc"}])
    assert error["target"] == "properties.webhookReceivers.0.serviceUri" and "webhook_hosts" in error["message"]
    assert "abc" not in error["message"]


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("https://hooks.example/x", True),
        ("http://hooks.example/x", True),
        ("https://hooks.example:8443/x", False),
        ("https://team.chat.example:8443/x", True),
        ("https://chat.example:8443/x", False),
        ("https://evil-hooks.example/x", False),
        ("https://hooks.example@169.254.169.254/", False),
        ("http://169.254.169.254/metadata", False),
        ("file:///etc/passwd", False),
        ("https://[::1]:9000/", True),
        ("https://[::1]/", False),
        ("http://hooks.example:99999/", False),
    ],
)
def test_only_addresses_that_are_allowed(tmp_path: Any, uri: str, allowed: bool) -> None:
    settings = Settings(tmp_path, webhook_hosts="hooks.example,*.chat.example:8443,[::1]:9000")
    assert (refused(settings, uri) == "") == allowed


def test_a_rule_says_what_there_is(harness: Harness) -> None:
    prepare(harness, "microsoft.insights/metricalerts")
    good = EXAMPLES["microsoft.insights/metricalerts"].body()
    criterion = good["properties"]["criteria"]["allOf"][0]

    def put(**more: Any) -> str:
        answer = harness.put(ALERT, {**good, "properties": {**good["properties"], **more}})
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"]["target"])

    assert put(scopes=[f"{GROUP}/providers/Microsoft.Insights/actionGroups/none"]) == "properties.scopes.0"
    assert put(criteria={"allOf": [{**criterion, "metricName": "P99"}]}).endswith("allOf.0.metricName")
    assert put(criteria={"allOf": [{**criterion, "criterionType": "DynamicThresholdCriterion"}]}).endswith(
        "criterionType"
    )
    assert put(windowSize="PT30S") == "properties.windowSize"
    assert put(actions=[{"actionGroupId": ENDPOINT}]) == "properties.actions.0.actionGroupId"


def test_ids_are_kept_as_the_platform_writes_them(tmp_path: Any, hook: Receiver) -> None:
    site = Site(tmp_path, hook, scopes=[f"{ENDPOINT}/"], actions=[{"actionGroupId": f"{ACTIONS}/"}])
    said = site.harness.get(ALERT).json()["properties"]
    assert said["scopes"] == [ENDPOINT] and said["actions"] == [{"actionGroupId": ACTIONS}]
    for _ in range(3):
        site.answer(800)
    assert site.state == "Fired" and len(hook.heard) == 1
    site.harness.close()


@pytest.mark.parametrize(
    ("aggregation", "value"), [("Average", 120), ("Minimum", 0), ("Maximum", 200), ("Last", 200), ("Total", 600)]
)
def test_of_what_is_counted_the_sums_of_minutes_are_compared(
    tmp_path: Any, hook: Receiver, aggregation: str, value: float
) -> None:
    site = Site(tmp_path, hook)
    clock = site.harness.clock
    clock.pass_(60 - clock() % 60)
    for count in (200, 0, 200, 200):
        for at in range(count):
            site.recorder.record(BLUE, REQUESTS.name, 1, {"statusCode": str(200 + at % 2)})
        clock.pass_(60)
    site.recorder.flush(site.harness.database)
    condition = Condition(ENDPOINT.lower(), REQUESTS.name, aggregation, "GreaterThan", 1, 300)
    with site.harness.database.read() as connection:
        (found,) = conditions.read(connection, condition, clock())
    assert found.value == pytest.approx(value, rel=1e-3)
    site.harness.close()


def test_one_that_is_disabled_while_it_is_fired_is_resolved(site: Site, hook: Receiver) -> None:
    site.answer(800)
    assert site.state == "Fired"
    site.harness.put(ALERT, EXAMPLES["microsoft.insights/metricalerts"].body(enabled=False))
    site.answer(800)
    assert site.state == "Resolved" and hook.heard[-1]["data"]["essentials"]["monitorCondition"] == "Resolved"
    site.answer(800)
    assert site.state == "Resolved" and len(hook.heard) == 2


@pytest.mark.parametrize(
    ("said", "looks"),
    [
        ({"evaluationFrequency": "PT1M", "windowSize": "PT5M"}, 6),
        ({"evaluationFrequency": "PT1M", "windowSize": "PT1H"}, 1),
        ({"evaluationFrequency": "PT5M", "windowSize": "PT5M"}, 1),
    ],
)
def test_it_is_looked_at_as_often_as_it_says(
    tmp_path: Any, hook: Receiver, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], looks: int
) -> None:
    site = Site(tmp_path, hook, **said)
    asked: list[float] = []
    real = conditions.read

    def read(connection: Any, one: Condition, now: float) -> Any:
        asked.append(now)
        return real(connection, one, now)

    monkeypatch.setattr(conditions, "read", read)
    for _ in range(6):
        site.answer(50, after_s=9)
    assert len(asked) == looks
    site.harness.put(ALERT, EXAMPLES["microsoft.insights/metricalerts"].body(**said, severity=1))
    site.answer(50, after_s=1)
    assert len(asked) == looks + 1, "what is changed is looked at at once"
    site.harness.close()


@pytest.mark.parametrize(("window_s", "grain"), [(3600, 60), (6 * 3600, 3600), (86_400, 3600)])
def test_long_windows_are_read_by_the_hour(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, window_s: int, grain: int
) -> None:
    recorder, now = Recorder(harness.clock), harness.clock()
    prepare(harness, "workspaces/onlineendpoints/deployments")
    recorder.record(ENDPOINT, LATENCY.name, 7.0, spread=True)
    recorder.flush(harness.database)
    grains: list[int] = []
    real = series.read

    def read(*given: Any) -> Any:
        grains.append(given[3])
        return real(*given)

    monkeypatch.setattr(series, "read", read)
    condition = Condition(ENDPOINT.lower(), LATENCY.name, "Average", "GreaterThan", 1, window_s)
    with harness.database.read() as connection:
        (found,) = conditions.read(connection, condition, now)
    assert grains == [grain] and found.value == 7.0


def test_a_receiver_that_never_comes_to_an_end_holds_nobody_up(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    heard: list[bytes] = []

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        with connection, contextlib.suppress(OSError):
            while not ended.wait(0.02):
                connection.sendall(b"a")

    monkeypatch.setattr(metric_alert, "_DEADLINE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        try:
            port = listener.getsockname()[1]
            assert "within 0.3 s" in metric_alert._post(f"http://127.0.0.1:{port}/", "key", {"a": 1})
        finally:
            ended.set()
            thread.join()
    assert heard
    alert, compute = (harness.kinds[key] for key in (metric_alert.ALERTS, "workspaces/computes"))
    lanes = harness.kinds.lanes()
    assert [name for name, lane in lanes.items() if alert.key in lane.kinds] == ["telling"]
    assert [name for name, lane in lanes.items() if compute.key in lane.kinds] == ["control", "cleanup"]


def test_somebody_looks_after_a_fired_alert_until_it_is_resolved(site: Site, hook: Receiver) -> None:
    early = site.harness.send("POST", f"{ALERT}/acknowledge", {})
    assert (early.status_code, early.json()["error"]["code"]) == (409, "AlertNotFired")
    site.answer(800)
    assert site.state == "Fired"
    for _ in range(2):  # the first who did it stays
        state = site.harness.send("POST", f"{ALERT}/acknowledge", {}).json()["alertState"]
        assert (state["acknowledgedBy"], state["monitorCondition"]) == ("ada", "Fired")
    stale = site.harness.send("POST", f"{ALERT}/acknowledge", {"firedDateTime": "2026-01-01T00:00:00.000000Z"})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "AlertFiredAnew")
    seen = {"firedDateTime": site.harness.get(ALERT).json()["properties"]["alertState"]["firedDateTime"]}
    assert site.harness.send("POST", f"{ALERT}/acknowledge", seen).status_code == 200
    site.harness.caller = replace(site.harness.caller, name="grace")
    other = site.harness.send("POST", f"{ALERT}/acknowledge", seen)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "AlertAcknowledged")
    assert "ada looks after" in other.json()["error"]["message"]
    site.restart()
    site.answer(800)
    assert site.harness.get(ALERT).json()["properties"]["alertState"]["acknowledgedBy"] == "ada"
    assert len(hook.heard) == 1, "it fires once"
    for _ in range(60):
        site.answer(50)
    assert site.state == "Resolved"
    site.answer(800, after_s=400)
    assert "acknowledgedBy" not in site.harness.get(ALERT).json()["properties"]["alertState"]


def test_alerts_are_listed_by_what_they_look_at(site: Site) -> None:
    rules = f"{GROUP}/providers/Microsoft.Insights/metricAlerts"
    workspace = ENDPOINT.partition("/onlineEndpoints/")[0]
    for scope, names in ((ENDPOINT, ["slow"]), (workspace, ["slow"]), (BLUE, []), (ENDPOINT[:-1], []), ("", ["slow"])):
        found = site.harness.get(f"{rules}?scope={scope}").json()["value"]
        assert [one["name"] for one in found] == names, scope


def test_an_alert_that_fires_has_a_schedules_job_run_once(tmp_path: Any, hook: Receiver) -> None:
    site = Site(tmp_path, hook)
    harness, schedule = site.harness, EXAMPLES["workspaces/schedules"]
    prepare(harness, "workspaces/schedules")
    assert harness.put(schedule.url, schedule.body(isEnabled=False)).status_code in (200, 201)
    name = schedule.url.rpartition("/")[2]
    runbook = {"name": "retrain", "webhookResourceId": schedule.url, "runbookName": name, "serviceUri": schedule.url}
    group = {"groupShortName": "ops", "automationRunbookReceivers": [runbook, runbook]}
    assert harness.put(ACTIONS, {"location": "Global", "properties": group}).status_code == 200

    def jobs() -> list[Any]:
        found = harness.get(f"{schedule.url.rpartition('/schedules/')[0]}/jobs", scheduleId=name)
        return list(found.json()["value"])

    site.answer(50)
    assert not jobs()
    for _ in range(3):
        site.answer(800)
    (job,) = jobs()
    assert job["name"].startswith(f"{name.lower()}-2")
    assert harness.get(schedule.url).json()["properties"]["lastRun"]["jobName"] == job["name"]
    site.restart()
    for _ in range(40):
        site.answer(50)
    assert site.state == "Resolved" and len(jobs()) == 1
    for _ in range(3):
        site.answer(800)
    assert site.state == "Fired" and len(jobs()) == 2
    harness.send("DELETE", schedule.url)
    harness.settle()
    for _ in range(40):
        site.answer(50)
    for _ in range(3):
        site.answer(800)
    assert site.state == "Fired"  # with nobody to run, which the log says
    harness.close()


def test_a_runbook_is_a_schedule_that_is_there(harness: Harness) -> None:
    prepare(harness, "workspaces/schedules")
    schedule = EXAMPLES["workspaces/schedules"]
    harness.put(schedule.url, schedule.body())
    for more, target in (
        ({"webhookResourceId": "none"}, "webhookResourceId"),
        ({"webhookResourceId": f"{schedule.url}-2"}, "webhookResourceId"),
        ({"webhookResourceId": GROUP}, "webhookResourceId"),
        ({"webhookResourceId": schedule.url, "serviceUri": "https://hooks.example/x"}, "serviceUri"),
        ({}, "webhookResourceId"),
    ):
        group = {"groupShortName": "ops", "automationRunbookReceivers": [{"name": "a", **more}]}
        answer = harness.put(ACTIONS, {"location": "Global", "properties": group})
        error = answer.json()["error"]
        assert (answer.status_code, error["target"]) == (400, f"properties.automationRunbookReceivers.0.{target}"), (
            error
        )
