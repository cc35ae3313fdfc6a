"""Index tags: how they are set and read, found, used as conditions, and who may."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest

from smalt.blob.accounts.sas import mint_account_sas
from smalt.blob.store.catalog import Properties, Row
from smalt.blob.store.tag_query import BadQuery, parse_condition, parse_find


def body(**tags: str) -> bytes:
    inner = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags.items())
    return f"<Tags><TagSet>{inner}</TagSet></Tags>".encode()


def tags_of(rig, name):
    answer = rig.request("GET", name, "comp=tags")
    assert answer.status == 200, answer.body
    found = answer.xml().iter("Tag")
    return {element.findtext("Key"): element.findtext("Value") or "" for element in found}


def found(rig, where, container="", more=""):
    restype = "restype=container&" if container else ""
    answer = rig.request("GET", "", f"{restype}comp=blobs&where={quote(where)}{more}", container=container)
    assert answer.status == 200, answer.body
    return [
        (element.findtext("ContainerName"), element.findtext("Name")) for element in answer.xml().iterfind("Blobs/Blob")
    ]


def test_tags_are_set_with_a_blob_or_alone_and_shown(rig):
    rig.put("a", x_ms_tags="kind=raw&a%20b=x%2Fy+z")
    assert tags_of(rig, "a") == {"kind": "raw", "a b": "x/y z"}
    before = rig.request("HEAD", "a").headers
    assert before["x-ms-tag-count"] == "2"
    assert rig.request("PUT", "a", "comp=tags", body=body(kind="clean")).status == 204
    assert tags_of(rig, "a") == {"kind": "clean"}
    after = rig.request("HEAD", "a").headers
    assert (after["etag"], after["last-modified"]) == (before["etag"], before["last-modified"])
    listed = rig.request("GET", query="restype=container&comp=list&include=tags").xml()
    assert [element.text for element in listed.iterfind("Blobs/Blob/Tags/TagSet/Tag/Value")] == ["clean"]
    assert [element.text for element in listed.iter("TagCount")] == ["1"]
    rig.put("a")
    assert tags_of(rig, "a") == {}
    assert "x-ms-tag-count" not in rig.request("HEAD", "a").headers


def test_blobs_are_found_by_their_tags_as_they_are_now(rig):
    rig.request("PUT", query="restype=container", container="other")
    for name, tags in (("1", "s=new&n=01"), ("2", "s=new&n=02"), ("3", "s=old&n=03")):
        rig.put(name, x_ms_tags=tags)
    other = {"x-ms-blob-type": "BlockBlob", "x-ms-tags": "s=new&n=09"}
    rig.request("PUT", "4", container="other", headers=other)
    assert found(rig, "s = 'new'") == [("data", "1"), ("data", "2"), ("other", "4")]
    assert found(rig, "\"s\"='new' AND n > '01'") == [("data", "2"), ("other", "4")]
    assert found(rig, "n >= '02' and n<='03'") == [("data", "2"), ("data", "3")]
    assert found(rig, "@container = 'other' AND s='new'") == [("other", "4")]
    assert found(rig, "s='new'", container="data") == [("data", "1"), ("data", "2")]
    assert found(rig, "s='none'") == []
    rig.put("1", x_ms_tags="s=old")
    rig.request("DELETE", "2")
    rig.request("PUT", "3", "comp=tags", body=body(s="new"))
    assert found(rig, "s='new'") == [("data", "3"), ("other", "4")]
    (rig.folder / "3").write_bytes(b"a job writes another file")
    assert found(rig, "s='new'") == [("other", "4")]
    rig.request("DELETE", query="restype=container", container="other")
    rig.request("PUT", query="restype=container", container="other")
    assert found(rig, "s='new'") == []


def test_a_search_is_paged(rig):
    for number in range(5):
        rig.put(f"{number}", x_ms_tags="s=x")
    names, marker = [], ""
    while True:
        query = f"comp=blobs&where={quote(chr(34) + 's' + chr(34) + chr(61) + chr(39) + 'x' + chr(39))}&maxresults=2"
        page = rig.request("GET", query=f"{query}&marker={marker}", container="").xml()
        names += [element.text for element in page.iterfind("Blobs/Blob/Name")]
        marker = page.findtext("NextMarker") or ""
        if not marker:
            break
    assert names == ["0", "1", "2", "3", "4"]


def test_a_search_shows_the_tags_it_asked_for(rig):
    rig.put("a", x_ms_tags="s=x&t=y")
    answer = rig.request("GET", query="comp=blobs&where=s%3D%27x%27", container="").xml()
    assert [element.text for element in answer.iter("Key")] == ["s"]
    assert answer.findtext("Where") == "s='x'"


def test_tags_are_conditions(rig):
    rig.put("a", b"1", x_ms_tags="s=new")
    assert rig.get("a", x_ms_if_tags="s = 'new'").status == 200
    assert rig.get("a", x_ms_if_tags="s <> 'new'").code == "ConditionNotMet"
    assert rig.put("a", x_ms_if_tags="s = 'old'").code == "ConditionNotMet"
    assert rig.put("none", x_ms_if_tags="s = 'old'").code == "ConditionNotMet"
    assert rig.request("DELETE", "a", headers={"x-ms-if-tags": "s='old'"}).code == "ConditionNotMet"
    assert rig.request("PUT", "a", "comp=tags", headers={"x-ms-if-tags": "s='new'"}, body=body(s="b")).status == 204
    assert rig.get("a", x_ms_if_tags="s ==").code == "InvalidHeaderValue"


def test_copies_take_tags_only_if_they_are_asked_to(rig):
    rig.put("a", x_ms_tags="s=x")
    url = f"http://127.0.0.1:1/acct.blob.core.smalt/data/a?{rig.sas}"

    def copy(**headers):
        sent = {"x-ms-copy-source": url, "x-ms-requires-sync": "true"}
        return rig.request("PUT", "b", headers=sent | {key.replace("_", "-"): value for key, value in headers.items()})

    assert copy().status == 202
    assert tags_of(rig, "b") == {}
    assert copy(x_ms_copy_source_tag_option="COPY").status == 202
    assert tags_of(rig, "b") == {"s": "x"}
    assert copy(x_ms_tags="s=y").status == 202
    assert found(rig, "s='y'") == [("data", "b")]
    both = copy(x_ms_tags="s=y", x_ms_copy_source_tag_option="COPY")
    assert both.code == "BothUserTagsAndSourceTagsCopyPresentException"
    assert copy(x_ms_source_if_tags="s='y'").code == "SourceConditionNotMet"


def test_an_append_keeps_the_tags(rig):
    rig.request("PUT", "log", headers={"x-ms-blob-type": "AppendBlob", "x-ms-tags": "s=x"})
    rig.request("PUT", "log", "comp=appendblock", body=b"1")
    assert found(rig, "s='x'") == [("data", "log")]
    assert rig.request("PUT", "log", "comp=metadata").status == 200
    assert tags_of(rig, "log") == {"s": "x"}


def test_who_may(rig):
    rig.put("a", x_ms_tags="s=x")
    key = rig.accounts.keys("acct")[0]

    def ask(permissions, method, path, query, headers=None, data=b"") -> Any:
        auth = mint_account_sas(key, "acct", permissions, time.time() + 60)
        return rig.request(method, path, query, headers=headers, body=data, auth=auth, container="data" if path else "")

    block = {"x-ms-blob-type": "BlockBlob"}
    tries: list[tuple[Any, ...]] = [
        ("t", "racwdlf", "GET", "a", "comp=tags"),
        ("t", "racwdlf", "PUT", "a", "comp=tags", {}, body(s="x")),
        ("f", "racwdlt", "GET", "", "comp=blobs&where=s%3D%27x%27"),
        ("wt", "w", "PUT", "a", "", {**block, "x-ms-tags": "s=x"}),
    ]
    for allowed, denied, *what in tries:
        assert ask(allowed, *what).status < 300
        assert ask(denied, *what).code == "AuthorizationPermissionMismatch"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("s", "InvalidTag"),
        ("=x", "EmptyTagName"),
        ("a=1&a=2", "DuplicateTagNames"),
        ("a=%C3%A9", "InvalidTag"),
        ("a=" + "x" * 257, "TagsTooLarge"),
        ("x" * 129 + "=a", "TagsTooLarge"),
        ("&".join(f"k{number}=v" for number in range(11)), "TagsTooLarge"),
    ],
)
def test_impossible_tags_are_refused(rig, header, code):
    answer = rig.put("a", x_ms_tags=header)
    assert (answer.status, answer.code) == (400, code)
    assert rig.get("a").status == 404


@pytest.mark.parametrize("document", [b"", b"<Tags>", b"<Tags/>", b"<Tag/>", b"<Tags><TagSet><Tag/></TagSet></Tags>"])
def test_a_document_that_is_not_one_of_tags_is_refused(rig, document):
    rig.put("a")
    assert rig.request("PUT", "a", "comp=tags", body=document).code == "InvalidXmlDocument"


@pytest.mark.parametrize(
    "text",
    ["", "s", "s=", "s=new", "s='a' AND", "s='a' OR t='b'", "'s'='a'", "s<>'a'", "@other='x'", "@container>'a'", "("],
)
def test_a_search_that_cannot_be_read_is_refused(rig, text):
    with pytest.raises(BadQuery):
        parse_find(text)
    answer = rig.request("GET", query=f"comp=blobs&where={quote(text)}", container="")
    assert (answer.status, answer.code) == (400, "InvalidQueryParameterValue")


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("a='1'", True),
        ("a='1' AND b='3'", False),
        ("a='2' OR b='2'", True),
        ("NOT a='1'", False),
        ("(a='2' OR a='1') AND NOT (b='1')", True),
        ("a='2' OR a='1' AND b='3'", False),
        ("c<>'x'", True),
        ("c='x'", False),
        ("\"o''k\"='1'", False),
        ("q='it''s'", True),
    ],
)
def test_conditions_are_read_as_they_are_meant(text, true):
    assert parse_condition(text)({"a": "1", "b": "2", "q": "it's"}) is true


def test_the_index_is_swept_of_what_is_no_more(rig):
    rig.put("b", x_ms_tags="s=x")
    rig.port.remove("acct", "data", "b")
    ghost = Row("acct", "data", "ghost", 1, 1, "0x1", Properties(tags={"s": "x"}))
    rig.service.tags.add(ghost)  # and then the server was killed, before the blob's row was committed
    for _ in range(2):  # what is found at one sweep goes at the next
        rig.service.tags.sweep()
    with rig.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM blob_tag").scalar() == 0


def test_a_sweep_in_the_middle_of_a_write_takes_nothing(rig, monkeypatch):
    add = rig.service.tags.add

    def added(row):
        add(row)
        rig.service.tags.sweep()  # the blob's own row is not there yet

    monkeypatch.setattr(rig.service.tags, "add", added)
    for name in ("1", "2"):
        rig.put(name, x_ms_tags="s=new")
    rig.service.tags.sweep()
    assert found(rig, "s = 'new'") == [("data", "1"), ("data", "2")]


def test_tags_outlive_a_restart(make_rig, tmp_path):
    first = make_rig(tmp_path / "root")
    first.put("a", x_ms_tags="s=x")
    first.close()
    second = make_rig(tmp_path / "root")
    assert found(second, "s='x'") == [("data", "a")]
