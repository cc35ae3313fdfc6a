"""`smalt up --database postgresql://…`: all rows are there, MLflow's too, and nobody sees the password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from live.clients import Client, client_python
from live.platform import HOME, Platform, eventually
from live.postgres import Postgres, started
from live.processes import command_of

pytestmark = pytest.mark.e2e

PASSWORD = "n0t-to-be-seen"
EXPERIMENTS = f"/mlflow/v1.0{HOME}/api/2.0/mlflow/experiments/search?max_results=5"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with started() as one:
        yield one


@pytest.fixture(scope="module")
def told(server: Postgres) -> str:
    return server.create().replace("smalt@", f"smalt:{PASSWORD}@")


@pytest.fixture(scope="module")
def platform(told: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("on-postgres")).started("--database", told) as one:
        yield one


def test_mlflows_process_makes_its_tables_and_does_not_stay(platform: Platform) -> None:
    eventually(
        lambda: "mlflow ended, until it is needed again" in platform.log("supervisor"), "MLflow's tables", pause_s=0.2
    )
    assert {one["name"] for one in platform.status()["processes"]} == {"supervisor", "server", "envoy"}


@pytest.mark.parametrize("script", ["tracking", "runs"])
def test_the_official_clients(platform: Platform, scripts: Path, script: str) -> None:
    said = Client(client_python(), platform.variables).run(scripts / f"{script}.py")
    assert said.rstrip().endswith("PASSED")
    assert not list(platform.root.glob("*.db*"))


def test_nobody_sees_the_password(platform: Platform, told: str) -> None:
    shown = told.replace(f":{PASSWORD}", "")
    assert platform.status()["database"] == shown
    said = platform.smalt("status").stdout
    assert shown in said and PASSWORD not in said
    for process in platform.processes():
        assert PASSWORD not in command_of(process.pid)
    eventually(lambda: platform.call("GET", EXPERIMENTS).status_code == 200, "MLflow", pause_s=0.2)
    for name in ("supervisor", "server", "envoy", "mlflow"):
        assert PASSWORD not in " ".join(psutil.Process(platform.pid(name)).environ().values())
    for path in (*platform.root.glob("logs/*"), *platform.root.glob("run/*.json")):
        assert PASSWORD not in path.read_text(errors="replace"), path
    assert (platform.root / "config.json").stat().st_mode & 0o777 == 0o600


def test_another_database_is_refused(platform: Platform, server: Postgres) -> None:
    platform.down()
    other = server.create()
    refused = platform.smalt("up", "--database", other.replace("smalt@", f"smalt:{PASSWORD}@"), "--detach")
    assert refused.returncode == 1 and "would not be found" in refused.stderr and other in refused.stderr
    assert PASSWORD not in refused.stderr + refused.stdout
    platform.up()


def test_a_database_that_goes_away_is_waited_for(platform: Platform, server: Postgres) -> None:
    assert platform.submit("before", "true").status_code == 201
    platform.wait_for("before", "Completed")
    eventually(lambda: platform.call("GET", EXPERIMENTS).status_code == 200, "MLflow", pause_s=0.2)
    server.stop()
    try:
        for path in (EXPERIMENTS, f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/get?run_id=before", "jobs/before"):
            answer = platform.call("GET", path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
            assert "127.0.0.1" not in answer.text and "SELECT" not in answer.text
        killed = platform.kill("mlflow")
    finally:
        server.start()
    platform.restarted("mlflow", killed)
    eventually(lambda: platform.call("GET", EXPERIMENTS).status_code == 200, "MLflow again", pause_s=0.2)
    assert platform.submit("after", "true").status_code == 201
    platform.wait_for("after", "Completed")
    run = platform.call("GET", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/get?run_id=after")
    assert run.json()["run"]["info"]["status"] == "FINISHED", run.text
