"""Metric alerts: fired and resolved once each, whoever is restarted; told to webhooks at allowed addresses, with tries."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from fakes.alerts import ACTIONS, ALERT, Receiver, Site
from fakes.examples import EXAMPLES, prepare
from fakes.platform import Harness
from smalt.kinds.insights import metric_alert
from smalt.kinds.insights.metric_alert import notices_of


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


def test_one_that_is_disabled_while_it_is_fired_is_resolved(site: Site, hook: Receiver) -> None:
    site.answer(800)
    assert site.state == "Fired"
    site.harness.put(ALERT, EXAMPLES["microsoft.insights/metricalerts"].body(enabled=False))
    site.answer(800)
    assert site.state == "Resolved" and hook.heard[-1]["data"]["essentials"]["monitorCondition"] == "Resolved"
    site.answer(800)
    assert site.state == "Resolved" and len(hook.heard) == 2


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

    monkeypatch.setattr(metric_alert, "_DEADLINE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        try:
            port = listener.getsockname()[1]
            assert "within 1 s" in metric_alert._post(f"http://127.0.0.1:{port}/", "key", {"a": 1})
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
