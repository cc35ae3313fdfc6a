"""A webhook's token is never in its document, stays where an update does not give it, and leaves by listSecrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes.platform import WORKSPACE, Harness
from fakes.webhooks import WEBHOOKS

URL = f"{WORKSPACE}/webhooks/chat"
TOKEN, OTHER = "pl4nted-t0ken", "an0ther-t0ken"


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path, kinds=[WEBHOOKS])


def webhook(**more: Any) -> dict[str, Any]:
    return {"properties": {"url": "https://chat.example/hook", "events": ["JobFailed"], **more}}


def token(harness: Harness) -> Any:
    answer = harness.send("POST", f"{URL}/listSecrets")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_token_is_shown_by_its_action_alone(harness: Harness) -> None:
    made = harness.put(URL, webhook(token=TOKEN))
    assert made.status_code == 201, made.text
    for answer in (made, harness.get(URL), harness.get(URL.rsplit("/", 1)[0])):
        assert TOKEN not in answer.text and "JobFailed" in answer.text
    assert TOKEN not in str(harness.row(URL).spec)
    assert token(harness) == {"token": TOKEN}


def test_an_update_without_the_token_keeps_it(harness: Harness) -> None:
    harness.put(URL, webhook(token=TOKEN))
    assert harness.put(URL, webhook(events=[])).status_code == 200
    assert harness.send("PATCH", URL, {"properties": {"events": ["JobEnded"]}}).status_code == 200
    assert harness.put(URL, webhook(token=None)).status_code == 200
    assert token(harness) == {"token": TOKEN}
    assert harness.send("PATCH", URL, {"properties": {"token": OTHER}}).status_code == 200
    assert token(harness) == {"token": OTHER}


def test_another_url_needs_the_token_again(harness: Harness) -> None:
    harness.put(URL, webhook(token=TOKEN))
    refused = harness.put(URL, webhook(url="https://thief.example"))
    assert refused.status_code == 400 and refused.json()["error"]["target"] == "properties.token"
    assert harness.put(URL, webhook(url="https://new.example", token=OTHER)).status_code == 200
    assert token(harness) == {"token": OTHER}


def test_a_token_goes_with_its_webhook(harness: Harness) -> None:
    harness.put(URL, webhook(token=TOKEN))
    harness.send("DELETE", URL)
    harness.put(URL, webhook())
    assert token(harness) == {}


@pytest.mark.parametrize("url", [None, "", "http://chat.example", "https://", "chat.example"])
def test_the_url_is_https(harness: Harness, url: Any) -> None:
    refused = harness.put(URL, webhook(url=url, token=TOKEN))
    assert refused.status_code == 400 and "properties.url" in refused.text
    assert TOKEN not in refused.text


def test_no_error_repeats_a_secret(harness: Harness) -> None:
    refused = harness.put(URL, webhook(token=""))
    assert refused.status_code == 400 and "properties.token" in refused.text
    for wrong in ({"url": 7, "token": TOKEN}, {"token": [TOKEN]}):
        assert TOKEN not in harness.put(URL, {"properties": wrong}).text
