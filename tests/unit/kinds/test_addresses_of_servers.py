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
@pytest.mark.parametrize("suffix", [STORAGE_SUFFIX, AZURE_SUFFIX])
def test_an_account_of_the_workspace_is_read_whatever_server_is_named_before_it(
    harness: Harness, form: str, host: str, suffix: str
) -> None:
    account = str(harness.row(WORKSPACE).status["account"])
    found = place(harness, form.format(host=host, account=account, suffix=suffix))
    assert (found.account, found.container, found.path) == (account, "box", "a/b.py")


def test_an_account_of_others_behind_an_address_of_others_is_elsewhere(harness: Harness) -> None:
    uri = f"https://ml-b.example:7443/theirs.blob.{STORAGE_SUFFIX}/box/a/b.py"
    assert (place(harness, uri).account, place(harness, uri).url) == ("", uri)
    with pytest.raises(ArmError, match="theirs"):
        place(harness, uri.replace("ml-b.example", "localhost"))


def test_code_is_shown_at_the_server_that_is_asked(harness: Harness) -> None:
    account = str(harness.row(WORKSPACE).status["account"])
    url = f"{WORKSPACE}/codes/c/versions/1"
    told = f"https://ml-b.example:7443/{account}.blob.{STORAGE_SUFFIX}/box/src"
    assert harness.put(url, {"properties": {"codeUri": told}}).status_code == 201
    shown = harness.get(url).json()["properties"]["codeUri"]
    assert shown == f"{harness.settings.url}/{account}.blob.{AZURE_SUFFIX}/box/src"
    same = told.replace("ml-b.example:7443", harness.settings.url.removeprefix("https://"))
    assert harness.put(url, {"properties": {"codeUri": same}}).status_code == 200
