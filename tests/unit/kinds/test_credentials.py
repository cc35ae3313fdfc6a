"""A resource has the secrets of the type of credentials that its document names, and no others: one rule for all kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from fakes.platform import WORKSPACE, Harness

SECRET, OTHER = "pl4nted-s3cret", "an0ther-s3cret"
LAKE = f"{WORKSPACE}/datastores/elsewhere"
FEED = f"{WORKSPACE}/connections/feed"


def datastore(credentials: Any = None, **more: Any) -> dict[str, Any]:
    properties = {"datastoreType": "AzureFile", "accountName": "elsewhere", "endpoint": "core.example", **more}
    return {"properties": properties | ({"credentials": credentials} if credentials is not None else {})}


def connection(auth: str, credentials: Any = None, **more: Any) -> dict[str, Any]:
    properties = {"category": "GenericHttp", "authType": auth, "target": "https://service.example", **more}
    return {"properties": properties | ({"credentials": credentials} if credentials is not None else {})}


@dataclass(frozen=True)
class Case:
    """One kind: how it says which credentials, and what its action for secrets answers for them."""

    url: str
    first: dict[str, Any]
    first_secrets: dict[str, Any]
    same_without: dict[str, Any]
    other: dict[str, Any]
    other_secrets: dict[str, Any]
    none: dict[str, Any]
    moved_without: dict[str, Any]
    new_type_without: dict[str, Any]


CASES = {
    "datastore": Case(
        LAKE,
        datastore({"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": SECRET}}),
        {"secretsType": "AccountKey", "key": SECRET},
        datastore({"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": None}}),
        datastore({"credentialsType": "Sas", "secrets": {"secretsType": "Sas", "sasToken": OTHER}}),
        {"secretsType": "Sas", "sasToken": OTHER},
        datastore({"credentialsType": "None"}),
        datastore({"credentialsType": "AccountKey"}, accountName="thief"),
        datastore({"credentialsType": "Sas"}),
    ),
    "connection": Case(
        FEED,
        connection("PAT", {"pat": SECRET}),
        {"pat": SECRET},
        connection("PAT"),
        connection("UsernamePassword", {"username": "u", "password": OTHER}),
        {"username": "u", "password": OTHER},
        connection("None"),
        connection("PAT", target="https://thief.example"),
        connection("SAS", {}),
    ),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest, harness: Harness) -> Case:
    made = harness.put(request.param.url, request.param.first)
    assert made.status_code in (200, 201), made.text
    return request.param


def secrets(harness: Harness, url: str) -> dict[str, Any]:
    answer = harness.send("POST", f"{url}/listSecrets").json()
    return answer["properties"]["credentials"] or {} if "properties" in answer else answer


def stored(harness: Harness, url: str) -> dict[str, str]:
    with harness.database.read() as connection:
        return harness.platform.secrets.of(connection, url.lower())


def test_secrets_leave_by_their_action_alone(harness: Harness, case: Case) -> None:
    assert secrets(harness, case.url) == case.first_secrets
    kind = case.url.rpartition("/")[0]
    for answer in (harness.get(case.url), harness.get(kind), harness.get(f"{case.url}/events")):
        assert answer.status_code == 200 and SECRET not in answer.text
    assert SECRET not in str(harness.row(case.url))


def test_an_update_of_the_same_type_without_secrets_keeps_them(harness: Harness, case: Case) -> None:
    assert harness.put(case.url, case.same_without).status_code in (200, 201)
    assert harness.send("PATCH", case.url, {"properties": {"metadata": {"a": "b"}}}).status_code == 200
    assert secrets(harness, case.url) == case.first_secrets


def test_another_type_takes_the_place_of_the_secrets(harness: Harness, case: Case) -> None:
    assert harness.put(case.url, case.other).status_code in (200, 201)
    assert secrets(harness, case.url) == case.other_secrets
    assert SECRET not in str(stored(harness, case.url))


def test_none_removes_them(harness: Harness, case: Case) -> None:
    assert harness.put(case.url, case.none).status_code in (200, 201)
    assert secrets(harness, case.url).get("secretsType", "None") == "None" and stored(harness, case.url) == {}
    again = harness.put(case.url, case.same_without)  # nor do they come back with the type
    assert again.status_code == 400, again.text


def test_a_delete_removes_them(harness: Harness, case: Case) -> None:
    assert harness.send("DELETE", case.url).status_code == 200
    assert stored(harness, case.url) == {}


def test_sent_elsewhere_they_have_to_be_given_again(harness: Harness, case: Case) -> None:
    """Else who may write, and not read, has them sent to himself."""
    answer = harness.put(case.url, case.moved_without)
    assert answer.status_code == 400 and "given again" in answer.json()["error"]["message"]
    assert secrets(harness, case.url) == case.first_secrets


def test_a_new_type_needs_its_secrets(harness: Harness, case: Case) -> None:
    error = harness.put(case.url, case.new_type_without).json()["error"]
    assert error["code"] == "ValidationError" and error["target"].startswith("properties.credentials")


def test_a_patch_that_takes_the_credentials_away_means_none(harness: Harness) -> None:
    harness.put(LAKE, CASES["datastore"].first)
    assert harness.put(LAKE, datastore(description="x")).status_code == 200  # says nothing of them
    assert secrets(harness, LAKE)["key"] == SECRET
    assert harness.send("PATCH", LAKE, {"properties": {"credentials": None}}).status_code == 200
    assert secrets(harness, LAKE) == {"secretsType": "None"} and stored(harness, LAKE) == {}


def test_one_field_of_several_may_be_replaced(harness: Harness) -> None:
    harness.put(FEED, CASES["connection"].other)
    harness.put(FEED, connection("usernamepassword", {"password": SECRET}))
    assert secrets(harness, FEED) == {"username": "u", "password": SECRET}
    assert harness.get(FEED).json()["properties"]["authType"] == "UsernamePassword"


@pytest.mark.parametrize(
    "wrong",
    [
        ("PUT", LAKE, datastore({"credentialsType": "AccountKey", "secrets": SECRET})),
        ("PUT", LAKE, datastore({"credentialsType": "AccountKey", "secrets": {"key": [SECRET]}})),
        (
            "PUT",
            LAKE,
            datastore({"credentialsType": "AccountKey", "secrets": {"secretsType": "Sas", "sasToken": SECRET}}),
        ),
        ("PUT", LAKE, datastore(SECRET)),
        ("PUT", LAKE, datastore({"credentialsType": "Nonsense", "secrets": {"key": SECRET}})),
        ("PUT", FEED, connection("PAT", SECRET)),
        ("PUT", FEED, connection("PAT", {"pat": {"x": [SECRET]}})),
        ("PUT", FEED, connection("PAT", [SECRET])),
        ("PUT", FEED, connection("Nonsense", {"pat": SECRET})),
        ("PUT", FEED, connection("PAT", {"pat": "x"}, category="Nonsense")),
        ("PUT", FEED, connection("PAT", {"pat": "x"}, target=f"https://me:{SECRET}@service.example")),
        ("PUT", FEED, connection("PAT", {"pat": "x"}, target=None)),
        ("PUT", FEED, connection("PAT", {"pat": "x"}, category="PythonFeed", target="feed.example/simple")),
        ("PUT", FEED, connection("PAT", {"pat": "x"}, expiryTime="tomorrow")),
        ("PUT", FEED, {"properties": {"category": "Git", "credentials": {"pat": SECRET}}}),
    ],
)
def test_what_cannot_be_is_refused_without_repeating_it(harness: Harness, wrong: tuple[str, str, Any]) -> None:
    answer = harness.send(*wrong)
    assert answer.status_code == 400, answer.text
    assert SECRET not in answer.text and answer.json()["error"]["target"]


def test_lists_go_by_category_and_target(harness: Harness) -> None:
    for name, category, target in (
        ("a", "python_feed", "https://a.example"), ("b", "git", "https://b.example"), ("c", "azureBlob", "https://c.example")
    ):  # fmt: skip
        body = connection("None", category=category, target=target)
        assert harness.put(f"{WORKSPACE}/connections/{name}", body).status_code == 200

    def names(query: str) -> set[str]:
        return {one["name"] for one in harness.get(f"{WORKSPACE}/connections?{query}").json()["value"]}

    assert names("") == {"a", "b"} and names("includeAll=true") == {"a", "b", "c"}
    assert names("category=pythonFeed") == {"a"} and names("category=AzureBlob") == {"c"}
    assert names("target=https://b.example") == {"b"}


def test_a_time_is_kept_in_utc(harness: Harness) -> None:
    harness.put(FEED, connection("None", expiryTime="2031-02-03T04:05:06+02:00"))
    assert harness.get(FEED).json()["properties"]["expiryTime"] == "2031-02-03T02:05:06Z"
