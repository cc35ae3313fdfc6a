"""What is large for the Studio: a log of a gigabyte, and a hundred streams of events at once."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
from playwright.sync_api import Page, expect

import live

LOG, LOG_MB = "user_logs/std_log.txt", 1000
_BLOCK_MB = 50
_LINE = b"2026-06-01T10:00:00 epoch %08d loss 0.123456 accuracy 0.987654 on a line of ordinary length\n"
_NEEDLE, _LAST = b"the needle in all of this\n", "the last line"
STREAMS, EVENTS = 100, 50
_STREAMS_MOST_S = 180.0


def upload_log(platform: live.Live, job: str) -> None:
    """Once; the needle is in the middle, the last line says so."""
    store = f"/datastore/v1.0{platform.workspace}/datastores/workspaceartifactstore"
    section = platform.api.get(store).raise_for_status().json()["azureStorageSection"]
    account, credential = section["accountName"].rpartition("/")[2], section["credential"]
    blob = f"{platform.url}/{account}.blob.core.smalt/{section['containerName']}/ExperimentRun/dcid.{job}/{LOG}?{credential}"
    version = {"x-ms-version": "2023-11-03"}
    with platform.bare() as bare:
        if bare.head(blob, headers=version).status_code == 200:
            return
        lines = b"".join(_LINE % number for number in range((_BLOCK_MB << 20) // len(_LINE % 0)))
        ids = [b64encode(f"{at:06}".encode()).decode() for at in range(LOG_MB // _BLOCK_MB)]
        for at, id_ in enumerate(ids):
            ends = {len(ids) // 2: _NEEDLE, len(ids) - 1: f"{_LAST}\n".encode()}
            body = lines + ends.get(at, b"")
            bare.put(f"{blob}&comp=block&blockid={id_}", content=body, headers=version).raise_for_status()
        listed = "".join(f"<Latest>{id_}</Latest>" for id_ in ids)
        bare.put(
            f"{blob}&comp=blocklist",
            headers=version,
            content=f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>',
        ).raise_for_status()


def on_screen(page: Page, address: str, seen: str) -> float:
    """From the browser's request for the page until `seen`, an expression of a script, holds: it is looked at in each
    frame, as what waits outside of the page looks ever less often."""
    page.goto("about:blank")
    page.goto(address, wait_until="commit")
    return page.evaluate(f"""() => new Promise((done) => {{
      const look = () => ({seen} ? done(performance.now()) : requestAnimationFrame(look));
      look();
    }})""")


def first_screen(page: Page, address: str) -> float:
    return on_screen(page, address, f"document.querySelector('[role=log]')?.textContent.includes('{_LAST}')")


def searched(page: Page) -> float:
    page.reload()  # without what was found before
    expect(page.get_by_role("log")).to_contain_text(_LAST)
    page.get_by_label("Search all of it").fill("NEEDLE in all")
    begun = time.perf_counter()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="the needle in all of this").wait_for()
    took = 1000 * (time.perf_counter() - begun)
    page.get_by_role("button", name="the needle in all of this").click()
    expect(page.get_by_role("log")).to_contain_text("the needle")
    return took


def to_the_end(page: Page) -> float:
    """From the place that was found, and back there."""
    begun = time.perf_counter()
    page.get_by_role("button", name="Follow the end").click()
    expect(page.get_by_role("log")).to_contain_text(_LAST)
    took = 1000 * (time.perf_counter() - begun)
    page.get_by_role("button", name="the needle in all of this").click()
    expect(page.get_by_role("log")).to_contain_text("the needle")
    return took


def streams(platform: live.Live, job: str) -> tuple[list[float], float]:
    """How late events were, in milliseconds from the request that made them, of all streams; MB that the server grew."""
    processes = json.loads(live.smalt("status", "--root", str(platform.root), "--json"))["processes"]
    server = psutil.Process(next(one["pid"] for one in processes if one["name"] == "server"))
    before = server.memory_info().rss
    with ThreadPoolExecutor(1) as thread:  # this one has the browser's loop
        late, most = thread.submit(asyncio.run, _listen(platform, job, server)).result()
    return late, (most - before) / 1e6


async def _listen(platform: live.Live, job: str, server: psutil.Process) -> tuple[list[float], int]:
    """Also the server's memory while all streams are open. Raises TimeoutError."""
    late, opened, heard, sent = list[float](), asyncio.Semaphore(0), asyncio.Semaphore(0), [0.0]
    query = {"after": "now", "kind": "workspaces/jobs", "api-version": live.VERSION}

    async def hear(api: httpx.AsyncClient) -> None:
        accept = {"Accept": "text/event-stream"}
        async with api.stream("GET", f"{platform.workspace}/changes", params=query, headers=accept) as answer:
            answer.raise_for_status()
            opened.release()
            async for line in answer.aiter_lines():
                if line.startswith("data:") and job in line and '"what": "updated"' in line:
                    late.append(1000 * (time.perf_counter() - sent[0]))
                    heard.release()

    tls = ssl.create_default_context(cafile=str(platform.ca))
    headers = {"Authorization": f"Bearer {platform.token}"}
    limits = httpx.Limits(max_connections=STREAMS + 1)
    async with (
        asyncio.timeout(_STREAMS_MOST_S),
        httpx.AsyncClient(
            base_url=platform.url, verify=tls, limits=limits, headers=headers, timeout=120, trust_env=False
        ) as api,
        asyncio.TaskGroup() as group,  # a stream that is refused ends all
    ):
        listeners = [group.create_task(hear(api)) for _ in range(STREAMS)]
        for _ in listeners:
            await opened.acquire()
        for number in range(EVENTS):
            sent[0] = time.perf_counter()
            change = {"properties": {"tags": {"n": str(number)}}}
            path = f"{platform.workspace}/jobs/{job}"
            (await api.patch(path, json=change, params={"api-version": live.VERSION})).raise_for_status()
            for _ in listeners:
                await heard.acquire()
        most = server.memory_info().rss
        for one in listeners:
            one.cancel()
    return late, most
