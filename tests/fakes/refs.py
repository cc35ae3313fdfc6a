"""Blobs that are named by absolute paths: for tests of what stands below the engine, which finds them with `FINDER`."""

from __future__ import annotations

from pathlib import Path

from smalt.agent.wire import InputSpec, OutputSpec, Places, Ref, TaskSpec
from smalt.engines.local import Finder

FINDER = Finder(lambda account, container, name: Path(name), Path)


def ref(path: Path | str) -> Ref:
    return Ref("files", "here", str(path))


def places(*specs: InputSpec | OutputSpec) -> Places:
    inputs = [one for one in specs if isinstance(one, InputSpec)]
    outputs = [one for one in specs if isinstance(one, OutputSpec)]
    return FINDER.places(TaskSpec("t", "/o", inputs=inputs, outputs=outputs))
