"""Cancelling every job of a platform, through its own API, before it is stopped."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx

from smalt.cli.access import owner_token
from smalt.cli.root import CliError
from smalt.settings import SUBSCRIPTION, Settings

API_VERSION = "2024-10-01"
TERMINAL = frozenset({"Completed", "Failed", "Canceled", "NotResponding"})
PATIENCE_S = 60.0  # SIGTERM, 30 s of grace, SIGKILL, and the end of it all
POLL_S = 0.2


def cancel_all(settings: Settings, patience_s: float = PATIENCE_S) -> list[tuple[str, str]]:
    """Cancel what has not ended and wait for its end; the jobs' names and final statuses. Raises CliError."""
    context = ssl.create_default_context(cafile=str(settings.tls / "ca.pem"))
    headers = {"Authorization": f"Bearer {owner_token(settings)}"}
    with httpx.Client(base_url=settings.url, headers=headers, verify=context, timeout=30, trust_env=False) as client:
        try:
            waiting = [one["id"] for one in _running(client)]
            for job in waiting:
                _cancel(client, job)
            return _ended(client, waiting, patience_s)
        except httpx.HTTPError as error:
            raise CliError(f"the jobs could not be cancelled ({error}); nothing was stopped.") from error


def _running(client: httpx.Client) -> Iterator[dict[str, Any]]:
    provider = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices"
    for workspace in list(_pages(client, f"{provider}/workspaces")):
        for job in list(_pages(client, f"{workspace['id']}/jobs")):
            outside = job["properties"].get("command") == ""  # a run of a notebook's, which nothing here runs
            if job["properties"].get("status") not in TERMINAL and not outside:
                yield job


def _pages(client: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    following: str | None = f"{path}?api-version={API_VERSION}&listViewType=All"
    while following:
        answer = client.get(following)
        answer.raise_for_status()
        page = answer.json()
        yield from page["value"]
        following = page.get("nextLink")


def _cancel(client: httpx.Client, job: str) -> None:
    answer = client.post(f"{job}/cancel", params={"api-version": API_VERSION})
    if answer.status_code not in (400, 404, 409):  # it ended, or was deleted, since it was listed
        answer.raise_for_status()


def _ended(client: httpx.Client, jobs: list[str], patience_s: float) -> list[tuple[str, str]]:
    deadline = time.monotonic() + patience_s
    found: list[tuple[str, str]] = []
    for job in jobs:
        name = job.rpartition("/")[2]
        while (status := _status(client, job)) not in TERMINAL:
            if time.monotonic() > deadline:
                raise CliError(f"job {name} is still {status} after {patience_s:g} s; nothing was stopped.")
            time.sleep(POLL_S)
        found.append((name, status))
    return found


def _status(client: httpx.Client, job: str) -> str:
    answer = client.get(job, params={"api-version": API_VERSION})
    if answer.status_code == 404:
        return "Canceled"
    answer.raise_for_status()
    return str(answer.json()["properties"].get("status"))
