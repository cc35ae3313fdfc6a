"""What is shown of a deployment's logs: of which container, how much, and of which instances."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.deployments import BLUE, KEY, come_up, deploy, live
from fakes.examples import prepare
from fakes.platform import Harness
from smalt.kinds.serving import deployment_logs


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    deploy(harness)
    come_up(harness)
    return harness


def write(harness: Harness, name: str, said: str, prepared: str = "") -> None:
    task = harness.engine.tasks[name]
    assert task.system_log is not None
    harness.blobs.write(task.log, said.encode())
    harness.blobs.write(task.system_log, prepared.encode())


def logs(harness: Harness, **asked: Any) -> str:
    answer = harness.send("POST", f"{BLUE}/getLogs", asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["content"]


def test_each_container_has_its_own_log(ready: Harness) -> None:
    (name,) = live(ready)
    write(ready, name, "scored\n", "code copied\n")
    key = ready.row(BLUE).status["target"]["plan"]["key"]
    ready.blobs.write(ready.environments.log(key), b"packages installed\n")
    served, prepared = logs(ready, containerType="InferenceServer"), logs(ready, containerType="StorageInitializer")
    assert "scored" in served and "code copied" not in served and "packages installed" not in served
    assert "code copied" in prepared and "packages installed" in prepared and "scored" not in prepared
    assert (
        logs(ready) == logs(ready, containerType="inferenceserver") == logs(ready, containerType="ModelDataCollector")
    )


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"containerType": "Sidecar"}, "containerType"),
        ({"tail": "all"}, "tail"),
        ({"tail": -5}, "tail"),
        ({"tail": True}, "tail"),
    ],
)
def test_what_cannot_be_shown_is_refused(ready: Harness, asked: dict[str, Any], field: str) -> None:
    answer = ready.send("POST", f"{BLUE}/getLogs", asked)
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, field)


def test_a_tail_is_of_each_log(ready: Harness) -> None:
    (name,) = live(ready)
    write(ready, name, "one\ntwo\nthree\n")
    assert logs(ready, tail=2).endswith("two\nthree") and "one\n" not in logs(ready, tail=2)


def test_a_log_is_read_to_a_limit_whatever_is_asked_for(ready: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment_logs, "_MOST_BYTES", 1 << 16)
    (task,) = ready.engine.tasks.values()
    path = ready.blobs.path(*task.log)
    path.parent.mkdir(parents=True)
    with path.open("wb") as log:
        log.truncate(1 << 22)
        log.seek(0, 2)
        log.write(b"\nthe end\n")
    said = logs(ready, tail=1_000_000_000)
    assert said.endswith("the end") and len(said) < 1 << 17


def test_who_died_is_shown_behind_who_took_its_place(ready: Harness) -> None:
    (first,) = live(ready)
    write(ready, first, "it hangs\n")
    ready.engine.finish(first, 137, error="Liveness probe failed 3 times in a row")
    ready.settle()
    ready.clock.pass_(1)
    ready.settle()
    come_up(ready)
    (second,) = live(ready)
    write(ready, second, "it serves\n")
    said = logs(ready)
    assert "Liveness probe failed 3 times" in said and said.index("it serves") < said.index("it hangs")
    deploy(ready, environmentVariables={"RELEASE": "2"})
    come_up(ready)
    assert "it hangs" not in logs(ready), "it is of another revision"
