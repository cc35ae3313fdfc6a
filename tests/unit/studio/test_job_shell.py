"""The ways into a job from its page: terminals, and what VS Code needs."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest

from fakes.studio import HERE, StudioSite
from smalt.agent.service_spec import ServiceState

PAGE = "/studio/jobs/train-1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH2Hb5NVIGlPUbLsfiUxN5S/gxAGtVEd5ICTM9T0Cgnp ada"


def running(site: StudioSite, **more: Any) -> str:
    site.submit("train-1", **more)
    site.harness.settle()
    for task in site.harness.engine.starts:
        site.harness.engine.start(task)
    site.harness.settle()
    return site.open(PAGE).text


def test_each_node_has_a_terminal_at_its_own_origin(site: StudioSite) -> None:
    page = running(site, resources={"instanceCount": 2})
    assert ">Terminal of node 0</a>" in page and ">Terminal of node 1</a>" in page
    answer = site.open(f"{PAGE}/terminal", {**HERE, "node": "1"})
    assert answer.status_code == 303
    assert (
        answer.headers["location"].startswith("https://terminal-99-") and "-n1.services." in answer.headers["location"]
    )
    for node, status in (("7", 400), ("x", 400), ("-1", 400)):
        assert site.open(f"{PAGE}/terminal", {**HERE, "node": node}).status_code == status


def test_who_may_not_write_the_job_is_refused(site: StudioSite, monkeypatch: pytest.MonkeyPatch) -> None:
    running(site)
    monkeypatch.setattr(site, "allowed", False)
    assert site.open(f"{PAGE}/terminal").status_code == 403


def test_a_job_that_does_not_run_has_no_way_in(site: StudioSite) -> None:
    site.submit("train-1")
    page = site.open(PAGE).text
    assert ">Terminal" not in page and "VS Code" not in page
    answer = site.open(f"{PAGE}/terminal")
    assert answer.status_code == 409 and "one connects to a job while it runs" in answer.text
    assert site.open("/studio/jobs/none/terminal").status_code == 404


def test_vs_code_by_ssh_by_its_server_or_how_to_have_either(site: StudioSite) -> None:
    assert "This one has neither." in running(site)
    site.harness.engine.finish(site.harness.engine.starts[0])
    services = {"shell": {"jobServiceType": "SSH", "properties": {"sshPublicKeys": KEY}}}
    site.submit("train-2", services=services)
    site.harness.settle()
    site.harness.engine.start(site.harness.engine.starts[1])
    site.harness.settle()
    page = site.open("/studio/jobs/train-2").text
    assert "ProxyCommand smalt ssh-proxy train-2 --workspace bank" in page
    assert "code --remote ssh-remote+smalt-train-2" in page and "az ml job connect-ssh --name train-2" in page
    assert "shell: Running" in page and "/ssh&#34;" not in page, "what ssh opens is no link for a browser"


def test_one_that_is_held_has_failed_and_says_until_when_one_comes_in(site: StudioSite) -> None:
    running(site, properties={"smalt.hold": "PT1H"})
    engine, why = site.harness.engine, "The command ended with exit code 3."
    engine.hold(engine.starts[0], 1_900_000_000.0, why)
    site.harness.settle()
    page = site.open(PAGE).text
    assert f"It has failed: {why} Its node is kept until " in page and 'datetime="2030-03-17T17:46:40' in page
    assert 'data-state="Held">Held<' in page and ">Terminal</a>" in page and "smalt connect train-1" in page
    assert f"Held until 2030-03-17T17:46:40Z: {why}" in page, "what live.js of other pages reads"
    assert 'data-state="Held">Held<' in site.open("/studio/jobs").text
    engine.finish(engine.starts[0], exit_code=3, error=why)
    site.harness.settle()
    page = site.open(PAGE).text
    assert 'data-state="Failed">Failed<' in page and "Its node is kept" not in page and ">Terminal" not in page


def test_a_service_is_opened_while_it_runs_and_says_why_it_does_not(site: StudioSite) -> None:
    board = {"jobServiceType": "TensorBoard", "properties": {"logDir": "logs"}}
    running(
        site, services={"tb": board, "lab": {"jobServiceType": "JupyterLab"}, "code": {"jobServiceType": "vs_code"}}
    )
    engine, why = site.harness.engine, "JupyterLab is not in the job's environment."
    engine.serve(engine.starts[0], tb=ServiceState("Running", 7007), lab=ServiceState("Failed", 0, why))
    site.harness.settle()
    page = unescape(site.open(PAGE).text)
    assert 'data-again="2000"' in page and "Its server is still starting." in page and "code: Starting</li>" in page
    assert "tb: Running <a href=" in page and f"lab: Failed. {why}</li>" in page and page.count(">open</a>") == 1
