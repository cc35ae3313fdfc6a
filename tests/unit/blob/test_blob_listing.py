"""What a listing shows, in which order, and how much it reads for that."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from smalt.blob.store import catalog


def test_listing_pages_prefixes_and_delimiters(rig):
    names = ["a-b", "a/1", "a/2/x", "a/2/y", "a0", "b/1", "ümlaut/ß", "z"]
    for name in names:
        assert rig.put(quote(name)).status == 201
    whole = rig.request("GET", query="restype=container&comp=list")
    assert whole.names() == sorted(names)
    paged: list[str] = []
    marker = ""
    while True:
        page = rig.request("GET", query=f"restype=container&comp=list&maxresults=2&marker={marker}")
        paged += page.names()
        marker = page.xml().findtext("NextMarker") or ""
        if not marker:
            break
    assert paged == sorted(names)
    level = rig.request("GET", query="restype=container&comp=list&delimiter=/&prefix=a/").xml()
    assert [element.text for element in level.findall("Blobs/Blob/Name")] == ["a/1"]
    assert [element.text for element in level.findall("Blobs/BlobPrefix/Name")] == ["a/2/"]
    top = rig.request("GET", query="restype=container&comp=list&delimiter=/")
    assert top.names() == ["a-b", "a/", "a0", "b/", "z", "ümlaut/"]
    dash = rig.request("GET", query="restype=container&comp=list&delimiter=-")
    assert dash.names() == ["a-", "a/1", "a/2/x", "a/2/y", "a0", "b/1", "z", "ümlaut/ß"]


def test_a_listing_reads_the_rows_of_what_it_shows_only(rig):
    for name in ("a", "deep/1", "deep/2", "deep/er/3", "z"):
        rig.put(name, content_type=f"text/{name[0]}")
    read = []
    original = catalog._row
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "_row", lambda one: read.append(one.name) or original(one))
        listed = rig.request("GET", query="restype=container&comp=list&delimiter=/")
    assert listed.names() == ["a", "deep/", "z"]
    assert [element.text for element in listed.xml().iter("Content-Type")] == ["text/a", "text/z"]
    assert sorted(read) == ["a", "z"]


def test_a_listing_of_more_than_one_statement_has_all_properties(rig):
    for number in range(502):
        rig.put(f"{number:03}", content_type=f"text/{number}")
    listed = rig.request("GET", query="restype=container&comp=list").xml()
    assert [element.text for element in listed.iter("Content-Type")] == [f"text/{number}" for number in range(502)]


def test_listing_shows_what_a_blob_has_and_hides_staging_and_empty_folders(rig):
    headers = {"x-ms-blob-type": "BlockBlob", "content-type": "text/plain", "x-ms-meta-upload_status": "completed"}
    assert rig.request("PUT", "a", headers=headers, body=b"12").status == 201
    rig.request("PUT", "pending", "comp=block&blockid=MQ==", body=b"x")  # a block that is not committed
    (rig.folder / "empty/below").mkdir(parents=True)
    (rig.folder / "job").write_bytes(b"123")
    listed = rig.request("GET", query="restype=container&comp=list&include=metadata").xml()
    assert [element.text for element in listed.iter("Name")] == ["a", "job"]
    blob = listed.find("Blobs/Blob")
    assert blob is not None
    assert blob.findtext("Properties/Content-Length") == "2"
    assert blob.findtext("Properties/Content-Type") == "text/plain"
    assert blob.findtext("Metadata/upload_status") == "completed"
    level = rig.request("GET", query="restype=container&comp=list&delimiter=/")
    assert level.names() == ["a", "job"]
    assert rig.request("GET", query="restype=container&comp=list&maxresults=0").code == "InvalidQueryParameterValue"
