"""What is large for the Studio: a log of a gigabyte."""

from __future__ import annotations

import time
from base64 import b64encode

from playwright.sync_api import Page, expect

import live

LOG, LOG_MB = "user_logs/std_log.txt", 1000
_BLOCK_MB = 50
_LINE = b"2026-06-01T10:00:00 epoch %08d loss 0.123456 accuracy 0.987654 on a line of ordinary length\n"
_NEEDLE = b"the needle in all of this\n"


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
            ends = {len(ids) // 2: _NEEDLE, len(ids) - 1: b"the last line\n"}
            body = lines + ends.get(at, b"")
            bare.put(f"{blob}&comp=block&blockid={id_}", content=body, headers=version).raise_for_status()
        listed = "".join(f"<Latest>{id_}</Latest>" for id_ in ids)
        bare.put(
            f"{blob}&comp=blocklist", headers=version,
            content=f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>',
        ).raise_for_status()  # fmt: skip


def first_screen(page: Page, address: str) -> float:
    """From the browser's request for the page until the log's end is on it."""
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_role("log")).to_contain_text("the last line")
    return page.evaluate("performance.now()")


def searched(page: Page) -> float:
    page.reload()  # without what was found before
    expect(page.get_by_role("log")).to_contain_text("the last line")
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
    expect(page.get_by_role("log")).to_contain_text("the last line")
    took = 1000 * (time.perf_counter() - begun)
    page.get_by_role("button", name="the needle in all of this").click()
    expect(page.get_by_role("log")).to_contain_text("the needle")
    return took
