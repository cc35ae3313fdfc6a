"""Which connections of a workspace open package indexes, and with which credentials."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.platform import WORKSPACE, Harness
from smalt.arm.ids import ResourceId
from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec, Feed, Login
from smalt.kinds.assets.feeds import feeds_of, logins_of

HOME = ResourceId.parse(WORKSPACE)
INDEX = "https://feed.example/simple"
SPEC = EnvironmentSpec(pip_requirements=f"--extra-index-url {INDEX}\nours")
URL = f"{WORKSPACE}/connections/feed"


def put(harness: Harness, auth: str = "PAT", credentials: Any = None, **more: Any) -> None:
    properties = {"category": "pythonFeed", "authType": auth, "target": INDEX, "credentials": credentials, **more}
    answer = harness.put(URL, {"properties": properties})
    assert answer.status_code == 200, answer.text


def feeds(harness: Harness, spec: EnvironmentSpec = SPEC) -> tuple[Feed, ...]:
    with harness.database.read() as connection:
        return feeds_of(connection, HOME, spec, harness.clock())


def logins(harness: Harness) -> dict[str, Login]:
    return dict(logins_of(harness.platform, EnvironmentPlan("k", {"feeds": {INDEX: URL.lower()}})))


@pytest.mark.parametrize(
    ("auth", "credentials", "login"),
    [
        ("PAT", {"pat": "t"}, Login("__token__", "t")),
        ("UsernamePassword", {"username": "u", "password": "p"}, Login("u", "p")),
    ],
)
def test_a_feed_with_credentials_opens_its_index(harness: Harness, auth: str, credentials: Any, login: Login) -> None:
    put(harness, auth, credentials)
    assert feeds(harness) == (Feed(INDEX, URL.lower()),) and logins(harness) == {INDEX: login}


def test_none_does_not_and_neither_does_another_category(harness: Harness) -> None:
    put(harness, "None")
    assert feeds(harness) == () and logins(harness) == {}
    put(harness, "PAT", {"pat": "t"}, category="Git")
    assert feeds(harness) == ()


def test_what_is_over_or_deleted_opens_nothing(harness: Harness) -> None:
    put(harness, "PAT", {"pat": "t"}, expiryTime="2027-01-15T08:10:00Z")  # ten minutes from the harness's time
    assert len(feeds(harness)) == 1
    harness.clock.pass_(3600)
    assert feeds(harness) == () and logins(harness) == {}
    put(harness, "PAT", {"pat": "t"})
    assert logins(harness)
    harness.send("DELETE", URL)
    assert feeds(harness) == () and logins(harness) == {}


def test_an_environment_without_an_address_costs_no_look(harness: Harness) -> None:
    put(harness, "PAT", {"pat": "t"})
    assert feeds(harness, EnvironmentSpec(conda_file="dependencies: [python=3.11, scikit-learn]")) == ()
