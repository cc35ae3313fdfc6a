"""What the official client makes, from raw data to a deployment, is asked of lineage, and told as OpenLineage's events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.openlineage import check
from live.clients import Client, client_python
from live.files import json_lines
from live.platform import Platform, eventually

pytestmark = pytest.mark.e2e


def short(key: str) -> str:
    return key.rpartition("/workspaces/default/")[2].replace("/versions/", ":")


def test_from_raw_data_to_a_deployment(tmp_path: Path, scripts: Path) -> None:
    events = tmp_path / "events.ndjson"
    with Platform(tmp_path / "platform").started("--openlineage", str(events)) as platform:
        said = Client(client_python(), platform.variables).run(scripts / "lineage.py").splitlines()
        assert said[-1] == "PASSED"
        made = json.loads(said[-2])
        unique, clean, train = made["unique"], made["clean"].lower(), made["train"].lower()
        shown = json.loads(platform.smalt("lineage", f"model:model-{unique}:1", "--json").stdout)
        assert {(short(one["from"]), short(one["to"])) for one in shown["edges"]} == {
            (f"data/raw-{unique}:1", f"jobs/{clean}"),
            (f"jobs/{clean}", f"data/table-{unique}:1"),
            (f"data/table-{unique}:1", f"jobs/{train}"),
            (f"jobs/{train}", f"models/model-{unique}:1"),
            (f"models/model-{unique}:1", f"onlineendpoints/serve-{unique}/deployments/blue"),
        }
        (job,) = [one for one in shown["nodes"] if short(one["key"]) == f"jobs/{train}"]
        origin = job["origin"]
        assert len(origin["code"]["hash"]) == 64 and origin["parameters"] == {"rate": "0.1"}
        assert origin["git"]["mlflow.source.git.branch"] == "main"
        assert origin["git"]["mlflow.source.git.commit"] == made["commit"]
        assert origin["inputs"]["table"]["files"] == 1
        down = json.loads(platform.smalt("lineage", f"data:raw-{unique}", "--direction", "downstream", "--json").stdout)
        assert f"models/run-{unique}:1" in {short(one["key"]) for one in down["nodes"]}, "what MLflow registered"
        text = platform.smalt("lineage", f"model:model-{unique}").stdout
        assert f"deployment serve-{unique}/blue (Succeeded), serves it since" in text
        assert f"git main@{made['commit'][:12]}" in text
        wrong = platform.smalt("lineage", "nothing")
        assert wrong.returncode == 1 and "model:NAME:VERSION" in wrong.stderr

        def told() -> list[Any] | None:
            found = json_lines(events)
            return found if len([one for one in found if one["eventType"] == "OTHER"]) == 2 else None

        found = eventually(told, "the last event")
        for one in found:
            check(one)
        assert [one["eventType"] for one in found] == ["START", "COMPLETE"] * 2 + ["OTHER"] * 2
        assert [one["name"] for one in found[1]["outputs"]] == [f"data/table-{unique}"]
        assert found[3]["job"]["name"] == "lineage.train"
        assert found[3]["job"]["facets"]["sourceCodeLocation"]["url"] == "https://git.example/churn.git"
