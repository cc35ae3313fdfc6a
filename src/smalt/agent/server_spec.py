"""An inference server as a task runs it, and what it collects: part of the messages between server and agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from smalt.agent.names import Ref


@dataclass(frozen=True)
class CollectionSpec:
    """What is collected: its files go to the task's output `output`, whose `url` it is; `rate` is what is kept."""

    name: str
    output: str
    url: str
    rate: float = 1


@dataclass(frozen=True)
class CollectorSpec:
    """Data collection of a deployment's replica, `instance`. `source` is the deployment's id; `rolling` the period of a
    file (year, month, day, hour, minute); `headers` are kept with requests and answers.
    """

    collections: list[CollectionSpec]
    rolling: str
    headers: list[str]
    source: str
    instance: str

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        return cls(**{**raw, "collections": [CollectionSpec(**one) for one in raw["collections"]]})


@dataclass(frozen=True)
class ServerSpec:
    """An inference server: it serves `model` by `script`, a file of the task's code, or without one as MLflow loads it.

    `deployment` is the name that answers carry; `request_timeout_s` 0 means none. `files`: the SHA-256 that each file
    of the model must have, by its name below it; '' is a model that is one file. `sealed`: no others may be there.
    """

    model: Ref | None = None
    script: str = ""
    deployment: str = ""
    max_concurrent: int = 1
    request_timeout_s: float = 0
    collector: CollectorSpec | None = None
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    sealed: bool = False

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        collector = raw.get("collector")
        given = {
            "model": Ref(*raw["model"]) if raw.get("model") else None,
            "collector": CollectorSpec.read(collector) if collector else None,
        }
        return cls(**{**raw, **given})
