"""Addresses of blobs as another server of the platform told them, or this one before it moved: the account tells."""

from __future__ import annotations

import pytest

from fakes.platform import WORKSPACE, Harness
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.kinds.assets import references
from smalt.kinds.assets.references import Place
from smalt.settings import AZURE_SUFFIX, STORAGE_SUFFIX

HOME = ResourceId.parse(WORKSPACE)
FORMS = ["https://{host}/{account}.blob.{suffix}/box/a/b.py", "wasbs://box@{host}/{account}.blob.{suffix}/a/b.py"]


def place(harness: Harness, uri: str) -> Place:
    with harness.database.read() as connection:
        return references.locate(harness.platform, connection, HOME, uri, "properties.codeUri")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("host", ["ml-b.example:7443", "localhost:1", "localhost:7443"])
def test_an_account_of_the_workspace_is_read_whatever_server_is_named_before_it(
    harness: Harness, form: str, host: str
) -> None:
    account = str(harness.row(WORKSPACE).status["account"])
    found = place(harness, form.format(host=host, account=account, suffix=STORAGE_SUFFIX))
    assert (found.account, found.container, found.path) == (account, "box", "a/b.py")


@pytest.mark.parametrize("form", FORMS)
def test_an_account_of_azures_behind_an_address_of_others_is_elsewhere_whatever_its_name(
    harness: Harness, form: str
) -> None:
    account = str(harness.row(WORKSPACE).status["account"])
    found = place(harness, form.format(host="proxy.example", account=account, suffix=AZURE_SUFFIX) + "?sv=1")
    assert found.account == "" and found.url.startswith("https://proxy.example/") and found.url.endswith("?sv=1")
    here = f"{harness.settings.host}:{harness.settings.port}"
    assert place(harness, form.format(host=here, account=account, suffix=AZURE_SUFFIX)).account == account


def test_an_account_of_others_behind_an_address_of_others_is_elsewhere(harness: Harness) -> None:
    uri = f"https://ml-b.example:7443/theirs.blob.{STORAGE_SUFFIX}/box/a/b.py"
    assert (place(harness, uri).account, place(harness, uri).url) == ("", uri)
    with pytest.raises(ArmError, match="theirs"):
        place(harness, uri.replace("ml-b.example", "localhost"))


def test_code_that_another_server_has_shown_is_found_by_each(harness: Harness) -> None:
    account = str(harness.row(WORKSPACE).status["account"])
    url = f"{WORKSPACE}/codes/c/versions/1"
    shown = {"codeUri": f"https://ml-b.example:7443/{account}.blob.{AZURE_SUFFIX}/box/my%20src"}
    assert harness.put(url, {"properties": shown}).status_code == 201
    found = place(harness, harness.row(url).properties["codeUri"])
    assert (found.account, found.container, found.path) == (account, "box", "my src")
    assert harness.put(url, {"properties": harness.get(url).json()["properties"]}).status_code == 200
    theirs = {"codeUri": shown["codeUri"].replace(account, "theirs")}
    assert harness.put(f"{WORKSPACE}/codes/d/versions/1", {"properties": theirs}).status_code == 400


def test_code_is_shown_at_the_server_that_is_asked(harness: Harness) -> None:
    account = str(harness.row(WORKSPACE).status["account"])
    url = f"{WORKSPACE}/codes/c/versions/1"
    told = f"https://ml-b.example:7443/{account}.blob.{STORAGE_SUFFIX}/box/src"
    assert harness.put(url, {"properties": {"codeUri": told}}).status_code == 201
    shown = harness.get(url).json()["properties"]["codeUri"]
    assert shown == f"{harness.settings.url}/{account}.blob.{AZURE_SUFFIX}/box/src"
    same = told.replace("ml-b.example:7443", harness.settings.url.removeprefix("https://"))
    assert harness.put(url, {"properties": {"codeUri": same}}).status_code == 200
