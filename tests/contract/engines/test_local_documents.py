"""A task reads the platform's documents from its agent: also while nobody listens at the platform's own address."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fakes.refs import FINDER, ref
from smalt.agent.wire import Outcome
from smalt.arm.cloud import metadata
from smalt.engines.local import LocalEngine
from smalt.settings import Settings

READ = "import os, requests; print(requests.get(os.environ['ARM_CLOUD_METADATA_URL'], timeout=30).text)"
SDK = """
from azure.ai.ml._azure_environments import _get_cloud_details
print(_get_cloud_details()["resource_manager"])
"""


@pytest.fixture
def away(tmp_path: Any) -> Iterator[Settings]:
    """A platform whose port nobody listens on, and nobody can take."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        yield Settings(root=tmp_path, port=port.getsockname()[1])


def given(settings: Settings, **more: str) -> dict[str, Any]:
    variables = {"ARM_CLOUD_METADATA_URL": settings.metadata_url, "AZUREML_CURRENT_CLOUD": "Smalt", **more}
    return {"variables": variables, "documents": {settings.metadata_url: metadata(settings)}}


def test_a_task_reads_the_metadata_of_a_platform_that_is_away(local: Any, away: Settings) -> None:
    state, log = local.run(argv=[sys.executable, "-c", READ], **given(away))
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 0), log
    assert log.strip() == metadata(away)
    assert json.loads(log)[0]["resourceManager"] == away.url


def test_the_sdk_finds_its_cloud(local: Any, away: Settings) -> None:
    state, log = local.run(argv=[sys.executable, "-c", SDK], **given(away))
    assert state.exit_code == 0, log
    assert log.strip().splitlines()[-1] == away.url


def test_each_task_has_its_own_and_keeps_it_after_the_server(local: Any, away: Settings) -> None:
    """As on several nodes: both run at once, and ask when the engine that started them is gone."""
    names, wait = ("first", "second"), f"import sys; open(sys.argv[1]).read(); {READ}"
    for name in names:
        os.mkfifo(local.root / name)
        argv = [sys.executable, "-c", wait, str(local.root / name)]
        local.engine.ensure(local.task(name, argv=argv, log=ref(local.root / f"{name}.txt"), **given(away)))
        local.changes.running(name)
    local.engine.close()
    local.engine = LocalEngine(local.settings, FINDER)
    local.changes = type(local.changes)(local.engine)
    for name in names:
        (local.root / name).write_text("now")
    for name in names:
        assert local.changes.ended(name).exit_code == 0
        assert (local.root / f"{name}.txt").read_text().strip() == metadata(away)


def test_a_variable_of_the_users_own_stays(local: Any, away: Settings) -> None:
    own = {"ARM_CLOUD_METADATA_URL": "https://elsewhere.example/metadata/endpoints", "THEIRS": away.metadata_url}
    _, log = local.run(command='echo "$ARM_CLOUD_METADATA_URL"; echo "$THEIRS"', **given(away, **own))
    kept, served = log.split()
    assert kept == own["ARM_CLOUD_METADATA_URL"]
    assert served.startswith("http://127.0.0.1:") and served.endswith("/metadata/endpoints")
