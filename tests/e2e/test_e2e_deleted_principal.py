"""What a deleted service principal's token still opens: nothing, a second after `smalt sp delete`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from live.patience import ANSWER_S
from live.platform import Platform, seconds_until
from smalt.auth.tokens import ml_audiences
from smalt.settings import TENANT

pytestmark = pytest.mark.e2e
ENDPOINT = "deleted-principal"


@pytest.fixture
def score(platform: Platform) -> Iterator[str]:
    """The address of an endpoint that takes tokens of Microsoft Entra; nothing is deployed behind it."""
    platform.put(f"onlineEndpoints/{ENDPOINT}", {"authMode": "AADToken"}, location="local")
    yield f"{platform.url}/endpoints/{ENDPOINT}/score"
    platform.call("DELETE", f"onlineEndpoints/{ENDPOINT}")


def test_its_token_opens_no_endpoint(platform: Platform, score: str) -> None:
    tokens = {}
    for name in ("leaves", "stays"):
        made = platform.smalt("sp", "create", name, "--json")
        assert made.returncode == 0, made.stderr
        variables = json.loads(made.stdout)
        asked = {
            "grant_type": "client_credentials",
            "client_id": variables["AZURE_CLIENT_ID"],
            "client_secret": variables["AZURE_CLIENT_SECRET"],
            "scope": f"{ml_audiences()[0]}/.default",
        }
        answer = requests.post(
            f"{platform.url}/adfs/{TENANT}/oauth2/v2.0/token", asked, verify=platform.ca, timeout=ANSWER_S
        )
        assert answer.status_code == 200, answer.text
        tokens[name] = answer.json()["access_token"]

    def status(name: str) -> int:
        headers = {"Authorization": f"Bearer {tokens[name]}"}
        return requests.post(score, json={}, headers=headers, verify=platform.ca, timeout=ANSWER_S).status_code

    assert status("leaves") == status("stays") == 404  # let in; nothing is deployed
    assert platform.smalt("sp", "delete", "leaves").returncode == 0
    took = [seconds_until(lambda: status("leaves") == 401, "the token's end")]
    assert status("stays") == 404
    assert platform.smalt("sp", "delete", "stays").returncode == 0
    took.append(seconds_until(lambda: status("stays") == 401, "the token's end"))
    assert min(took) < 1, took
