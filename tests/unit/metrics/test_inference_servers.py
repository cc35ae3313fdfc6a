"""What inference servers count of themselves: taken over once each, whatever they answer, and never waited for long."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes import rows
from fakes.metrics import BLUE, ENDPOINT, metrics
from fakes.platform import Harness
from smalt.agent.inject import metrics as replicas
from smalt.agent.inject.metrics import Metrics
from smalt.agent.wire import Address, Phase, TaskState
from smalt.arm.ports import Traffic
from smalt.metrics import prometheus, scrape
from smalt.metrics.collector import FORGET_EVERY_S, Collector
from smalt.metrics.recorder import Recorder
from smalt.store import resources
from smalt.unix_socket import listen


class Site:
    """A platform with one deployment, and the sockets of its replicas."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.recorder = Recorder(harness.clock)
        self.collector = Collector(harness.platform, self.recorder)
        self.answered = 0
        with harness.database.write() as connection:
            for written in (ENDPOINT, BLUE):
                rows.put(connection, written)

    def live(self, *names: str) -> None:
        addresses = {name: f"unix:{self.harness.settings.run / name}.sock" for name in names}
        with self.harness.database.write() as connection:
            resources.merge_status(connection, BLUE, {"live": {"addresses": addresses}})
        for name, address in addresses.items():
            self.harness.engine.states[name] = TaskState(name, Phase.RUNNING, ready=True, address=Address(address))

    @contextmanager
    def replica(self, name: str, answer: Metrics | bytes | None) -> Iterator[None]:
        """It says `answer`; None: it takes what is asked, and says nothing."""
        with listen(self.harness.settings.run / f"{name}.sock", 16) as listener:
            thread = threading.Thread(target=_serve, args=(listener, answer))
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def look(self, requests: int = 1) -> None:
        """After so many further requests."""
        self.answered += requests
        if self.answered:
            counted = Traffic({"200": self.answered}, 1.0, {4: 1})
            self.harness.gateway.counted = ("1 2", {("churn", "blue"): {"make": counted}})
        self.collector.collect()

    def total(self, name: str, aggregation: str = "total", of: str = BLUE) -> float:
        query = f"api-version=2018-01-01&metricnames={name}&aggregation={aggregation}"
        answer = self.harness.get(f"{of}/providers/Microsoft.Insights/metrics?{query}")
        assert answer.status_code == 200, answer.text
        (line,) = answer.json()["value"][0]["timeseries"]
        return sum(point.get(aggregation, 0) for point in line["data"])

    def apart(self, name: str, label: str) -> dict[str, float]:
        """Totals by the values of a label."""
        lines = metrics(self.harness, BLUE, name, **{"$filter": f"{label} eq '*'", "aggregation": "Total"})[name][
            "timeseries"
        ]
        return {line["metadatavalues"][0]["value"]: sum(point["total"] for point in line["data"]) for line in lines}


def _serve(listener: socket.socket, answer: Metrics | bytes | None) -> None:
    with ExitStack() as held:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            if answer is None:
                held.enter_context(one)
                continue
            with one:
                one.recv(4096)
                text = answer if isinstance(answer, bytes) else b"HTTP/1.1 200 OK\r\n\r\n" + answer.text()
                one.sendall(text)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    harness = Harness(tmp_path)
    yield Site(harness)
    harness.close()


def failed(times: int) -> Metrics:
    made = Metrics()
    for _ in range(times):
        made.scored(424, True, 0.01)
        made.waited(0.2)
        made.batch(4, 0.02)
    return made


def test_what_is_collected_and_what_is_lost_are_read_there_too(site: Site) -> None:
    said = [
        'smalt_inference_collected_lines_total{type="request"} 40',
        'smalt_inference_collected_lines_total{type="model_inputs"} 2',
        'smalt_inference_collected_lines_total{type="made_up"} 1',
        'smalt_inference_collected_lines_total{type="made_up_too"} 1',
        'smalt_inference_collected_lost_total{type="request",reason="Overload"} 3',
        'smalt_inference_collected_lost_total{type="request",reason="WriteFailed"} 4',
    ]
    counted = b"HTTP/1.1 200 OK\r\n\r\n" + Metrics().text(said)
    with site.harness.database.write() as connection:
        row = resources.get(connection, BLUE)
        assert row is not None
        given = {"dataCollector": {"collections": {"Request": {}, "model_inputs": {}}}}
        resources.describe(connection, row, {"properties": given}, archived=False, now=2.0, by="ada")
    site.live("one", "other")
    with site.replica("one", counted), site.replica("other", counted):
        site.look()
        site.look()
    assert site.total("DataCollectionEventsPerMinute") == 88 and site.total("DataCollectionErrorsPerMinute") == 14
    assert site.apart("DataCollectionEventsPerMinute", "type") == {"request": 80, "model_inputs": 4}
    assert site.apart("DataCollectionErrorsPerMinute", "reason") == {"Overload": 6, "WriteFailed": 8}
    assert site.apart("DataCollectionErrorsPerMinute", "instanceId") == {"one": 7, "other": 7}


def test_what_an_instance_of_before_collected_is_counted_without_its_collection(site: Site) -> None:
    counted = Metrics().text(["smalt_inference_collected_lines_total 40", "smalt_inference_collected_lost_total 3"])
    site.live("one")
    with site.replica("one", b"HTTP/1.1 200 OK\r\n\r\n" + counted):
        site.look()
        site.look()
    assert site.total("DataCollectionEventsPerMinute") == 40 and site.total("DataCollectionErrorsPerMinute") == 3


def test_what_replicas_count_is_read_at_azure_monitors_address(site: Site) -> None:
    one, other = failed(3), failed(2)
    one.in_flight = 5
    site.live("one", "other")
    with site.replica("one", one), site.replica("other", other):
        site.look()
        site.look()
        one.scored(424, True, 0.01)
        site.look()
    assert site.total("ModelFailures") == 6
    assert site.total("ModelFailures", of=ENDPOINT) == 6
    assert site.total("ModelBatchSize", "count") == 5 and site.total("ModelBatchSize", "average") == 4
    assert site.total("ModelLatency", "average") == pytest.approx(20)
    assert site.total("ModelWait", "average") == pytest.approx(200)
    assert site.total("RequestsInFlight", "maximum") == 5
    defined = site.harness.get(f"{BLUE}/providers/Microsoft.Insights/metricDefinitions").json()["value"]
    assert {"ModelFailures", "ModelWait", "RequestsInFlight"} <= {one["name"]["value"] for one in defined}


def test_prometheus_reads_them(site: Site) -> None:
    site.live("one")
    with site.replica("one", failed(2)):
        site.look()
    shown = prometheus.text(site.recorder.totals()).decode()
    samples = {
        (sample.name, sample.labels.get("le", sample.labels.get("instanceId", ""))): sample.value
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
    }
    assert samples["smalt_model_failures_total", ""] == 2
    assert samples["smalt_model_latency_bucket", "25"] == 2
    assert samples["smalt_model_wait_sum", ""] == pytest.approx(400)
    assert samples["smalt_requests_in_flight", "one"] == 0


def test_a_replica_that_began_anew_counts_from_nothing(site: Site) -> None:
    site.live("one")
    for times in (5, 7):  # the second process has counted more than the first
        with site.replica("one", failed(times)):
            site.look()
    assert site.total("ModelFailures") == 12


def test_a_server_that_was_started_again_counts_nothing_twice(site: Site) -> None:
    site.live("one")
    with site.replica("one", failed(5)):
        site.look()
        site.collector = Collector(site.harness.platform, Recorder(site.harness.clock))
        site.look()
    assert site.total("ModelFailures") == 5


def test_who_had_no_requests_is_not_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(scrape, "ask", lambda addresses, dial: asked.append(len(addresses)) or {})
    site.live("one", "other")
    site.look(0)
    site.look(1)
    site.look(0)
    assert asked == [2]


def test_who_had_something_in_hand_is_asked_once_more(site: Site) -> None:
    busy = Metrics()
    busy.in_flight = 3
    site.live("one")
    with site.replica("one", busy):
        site.look()
        busy.in_flight = 0
        site.look(0)
    assert [point.last for key, point in site.recorder.totals() if key.name == "RequestsInFlight"] == [0]


def test_a_replica_that_is_drained_is_asked_as_long_as_it_answers(site: Site) -> None:
    old = failed(1)
    site.live("old")
    with site.replica("old", old), site.replica("new", failed(10)):
        site.look()
        old.scored(424, True, 0.01)
        site.live("new")
        site.look()
    site.look()
    assert site.total("ModelFailures") == 12


def test_a_replica_that_ends_with_a_change_is_asked_before(site: Site) -> None:
    """The gateway tells of the change; by the time that everything is taken over, the replica is gone."""
    old = failed(1)
    site.live("old")
    with site.replica("old", old):
        site.look()
        old.scored(424, True, 0.01)
        site.live("new")
        counted = Traffic({"200": site.answered + 1}, 1.0, {4: 1})
        site.collector.told("1 2", {("churn", "blue"): {"make": counted}})
        site.collector._ask()
    site.look(2)
    assert site.total("ModelFailures") == 2
    assert site.total("RequestsPerMinute") == 3


def test_one_that_is_silent_is_waited_for_only_so_long_and_loses_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape, "PATIENCE_S", 0.5)
    counts = failed(4)
    site.live("one", "hung", "dead")
    with site.replica("one", counts):
        site.look()
    with site.replica("hung", failed(2)), site.replica("one", None):
        began = time.monotonic()
        site.look()
        assert time.monotonic() - began < 60
    with site.replica("one", counts):
        site.look()
    assert site.total("ModelFailures") == 6


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 500 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nsmalt_inference_run_failures_total 5\n",  # when did it begin?
        b"HTTP/1.1 200 OK\r\n\r\nprocess_start_time_seconds 1\nsmalt_inference_run_failures_total 1e300\n",
        b"HTTP/1.1 200 OK\r\n\r\nprocess_start_time_seconds 1\nsmalt_inference_run_failures_total 1.2.3\n",
        b"HTTP/1.1 200 OK\r\n\r\nprocess_start_time_seconds 1\nsmalt_inference_run_failures_total 5 \xff\n" * 2000,
        b"HTTP/1.1 200 OK\r\n\r\nprocess_start_time_seconds 1\n"
        + b'smalt_inference_call_seconds_bucket{le="nan"} 5\nsmalt_inference_call_seconds_bucket{le="0.123"} 5\n',
    ],
    ids=["nothing", "500", "no-start", "huge", "no-number", "too-long", "bounds"],
)
def test_what_is_no_number_of_ours_is_left_out(site: Site, said: bytes) -> None:
    site.live("one")
    with site.replica("one", said):
        site.look()
    assert site.total("RequestsPerMinute") == 1
    assert (site.total("ModelFailures"), site.total("ModelLatency", "count")) == (0, 0)


def test_marks_of_deployments_that_are_gone_are_forgotten(site: Site) -> None:
    site.live("one")
    with site.replica("one", failed(1)):
        site.look()

    def marks() -> Any:
        with site.harness.database.read() as connection:
            return sorted(connection.exec_driver_sql("SELECT name FROM watermark").scalars())

    assert [one.rpartition(" ")[2] for one in marks()] == [BLUE.lower(), "churn/blue"]
    with site.harness.database.write() as connection:
        resources.remove(connection, BLUE.lower(), 2.0)
    site.harness.clock.pass_(FORGET_EVERY_S + 1)
    site.look(0)
    assert marks() == []


def test_both_sides_know_the_same_bounds() -> None:
    assert (scrape.SECONDS, scrape.SIZES) == (replicas.SECONDS, replicas.SIZES)
