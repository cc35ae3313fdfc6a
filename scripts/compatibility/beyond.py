"""Rows that need what the platform does not have yet: they must be refused with a clear error, at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import azure.ai.ml as sdk
from azure.ai.ml import MLClient


def attempt(client: MLClient, kind: str, path: Path, settings: Mapping[str, str]) -> None:
    """Submit as the kind is submitted, with `settings` (key to value) over what the file says; raises what the client raises."""
    if kind.endswith("-job"):
        client.jobs.create_or_update(sdk.load_job(path, params_override=[dict(settings)] if settings else None))
    else:
        raise NotImplementedError(f"no way to submit a {kind}")
