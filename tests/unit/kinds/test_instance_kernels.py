"""Environments of a workspace as kernels of an instance: which, when they are built, and what is said of those that fail."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.instances import INSTANCE, answers, machine, put, row, task
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import TaskSpec

TOOLS = "- pip: [ipykernel]"


@pytest.fixture(autouse=True)
def unbuilt(harness: Harness) -> None:
    harness.environments.build_at_once = False


def environment(harness: Harness, name: str, built: bool = True, **properties: Any) -> str:
    """The key of what is built of its first version."""
    text = f"dependencies: [{name}]"
    body = {"image": "mcr.microsoft.com/azureml/base", "condaFile": text, **properties}
    answer = harness.put(f"{WORKSPACE}/environments/{name}/versions/1", {"properties": body})
    assert answer.status_code in (200, 201), answer.text
    key = f"{abs(hash((text, False))):x}"
    if built:
        harness.environments.ready.add(key)
        harness.environments.locks[key] = {"ipykernel": "6.29.5"}
    return key


def build(harness: Harness, exit_code: int = 0, but: str = "") -> list[str]:
    """All that is being built is; what is made of what names `but` is not. What was to be built."""
    builds = [one for name, one in list(harness.engine.tasks.items()) if name.startswith("build-")]
    texts: list[str] = []
    for one in builds:
        found = harness.row(one.owner)
        text = str(found.spec["definition"]["text"])
        texts.append(text)
        failed = bool(but) and but in text
        if not failed:
            harness.environments.ready.add(found.name)
        harness.engine.start(one.name)
        harness.engine.finish(one.name, 1 if failed else exit_code)
    harness.settle()
    return texts


def started(harness: Harness, **properties: Any) -> TaskSpec:
    put(harness, **properties)
    while not any(name.startswith("ci-") for name in harness.engine.tasks):
        assert build(harness)
    return harness.engine.tasks[task(harness)]


def test_those_that_are_built_and_those_that_are_chosen(harness: Harness) -> None:
    trained, slow = environment(harness, "trained"), environment(harness, "slow", built=False)
    chosen = environment(harness, "chosen", built=False, tags={"kernel": "yes"})
    environment(harness, "declined", built=False, tags={"kernel": "false"})
    environment(harness, "nameless", isAnonymous=True)
    environment(harness, "archived", isArchived=True)
    kernels = {one.title: one for one in started(harness).kernels}
    assert set(kernels) == {"trained:1", "chosen:1"} and slow not in harness.environments.ready
    assert (kernels["trained:1"].environment, kernels["trained:1"].tools) == (trained, ""), "it has ipykernel itself"
    assert kernels["trained:1"].name == "azureml-trained-1"
    assert kernels["chosen:1"].environment == chosen and kernels["chosen:1"].tools in harness.environments.ready


def test_what_is_shipped_under_several_names_is_one_kernel(harness: Harness) -> None:
    environment(harness, "mine")
    key = f"{abs(hash(('x', False))):x}"
    harness.environments.ready.add(key)
    harness.environments.locks[key] = {"ipykernel": "6.29.5"}
    assert [one.title for one in started(harness).kernels] == ["mine:1", "sklearn-1.5:12"]


def test_what_is_built_later_is_there_from_the_next_start_on(harness: Harness) -> None:
    assert started(harness).kernels == []
    answers(harness)
    key = environment(harness, "later")
    del harness.environments.locks[key]
    harness.send("POST", f"{INSTANCE}/restart")
    harness.settle()
    assert machine(harness)["state"] == "Restarting"
    assert [TOOLS in text for text in build(harness)] == [True], "ipykernel alone, for it has none"
    answers(harness)
    (kernel,) = harness.engine.tasks[task(harness)].kernels
    assert kernel.environment == key and row(harness).status["kernels"][0]["environment"] == key
    harness.send("POST", f"{INSTANCE}/stop")
    harness.settle()
    assert row(harness).status["kernels"] == [], "what a stopped one had may be removed once nobody uses it"


def test_one_that_cannot_be_built_is_left_out_and_the_log_says_so(harness: Harness) -> None:
    environment(harness, "fine")
    broken = environment(harness, "broken", built=False, tags={"kernel": ""})
    put(harness)
    while not any(name.startswith("ci-") for name in harness.engine.tasks):
        assert build(harness, but="broken")
    spec = harness.engine.tasks[task(harness)]
    assert [one.title for one in spec.kernels] == ["fine:1"] and "broken:1" in spec.variables["SMALT_KERNELS"]
    answers(harness)
    assert machine(harness)["state"] == "Running"
    shown = {one["displayName"]: one for one in machine(harness)["kernels"]}
    assert shown["fine:1"]["name"] == "azureml-fine-1" and "could not be built" in shown["broken:1"]["error"]
    harness.send("POST", f"{INSTANCE}/restart")
    harness.settle()
    build(harness)
    assert broken in {one.environment for one in harness.engine.tasks[task(harness)].kernels}, "it is tried anew"


def test_one_that_went_meanwhile_is_not_told_to_the_task(harness: Harness) -> None:
    key = environment(harness, "gone")
    put(harness)
    harness.environments.ready.discard(key)
    while not any(name.startswith("ci-") for name in harness.engine.tasks):
        assert build(harness)
    assert harness.engine.tasks[task(harness)].kernels == []
