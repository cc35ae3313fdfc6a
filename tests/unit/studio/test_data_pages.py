"""Pages of data: names and versions, files as they may be, and that nothing of a user's is run or laid out here."""

from __future__ import annotations

import io
import zipfile
from array import array
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from fakes.platform import WORKSPACE
from fakes.studio import HERE, form_token
from fakes.studio_files import UPLOADS, FilesSite

SCRIPT = "<script>alert('x')</script>"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FilesSite]:
    made = FilesSite(tmp_path)
    yield made
    made.close()


def folder(site: FilesSite, **files: bytes) -> None:
    for name, content in files.items():
        site.upload(f"d/{name.replace('__', '/').replace('_', '.')}", content)
    site.version("data/mixed/versions/1", dataUri=f"{UPLOADS}/d", dataType="uri_folder")


def shown(site: FilesSite, page: str, /, **query: str) -> str:
    answer = site.open(f"/studio{page}", {**HERE, **query})
    assert answer.status_code == 200, answer.text
    return answer.text


def test_names_are_found_by_words_type_and_archive(site: FilesSite) -> None:
    for name, type_ in (("churn", "uri_file"), ("points", "uri_folder"), ("churned", "mltable")):
        site.version(f"data/{name}/versions/1", dataUri=f"{UPLOADS}/{name}", dataType=type_, description=SCRIPT)
    page = shown(site, "/data", searchText="CHURN")
    assert ">churn<" in page and ">churned<" in page and ">points<" not in page
    page = shown(site, "/data", dataType="mltable")
    assert ">churned<" in page and ">churn<" not in page
    token = form_token(shown(site, "/data/churn"))
    assert site.send_form("/studio/data/churn/archive", token).status_code == 303
    assert ">churn<" not in shown(site, "/data") and ">churn<" in shown(site, "/data", view="archived")


def test_a_version_is_described_tagged_and_archived(site: FilesSite) -> None:
    site.version("data/churn/versions/1", dataUri=f"{UPLOADS}/c.csv", dataType="uri_file", description=SCRIPT)
    page = shown(site, "/data/churn/1")
    assert SCRIPT not in page and "&lt;script&gt;" in page and "azureml:churn:1" in page
    own, token = "/studio/data/churn/1", form_token(page)
    tags = {"tag-name-0": "team", "tag-value-0": "growth", "tag-name-1": " x ", "tag-value-1": "", "tag-name-2": ""}
    done = site.send_form(f"{own}/tags", token, {**tags, "description": "of\r\nours"})
    assert done.status_code == 303 and done.headers["location"].startswith(own)
    row = site.harness.row(f"{WORKSPACE}/data/churn/versions/1")
    assert row.properties["tags"] == {"team": "growth", "x": ""} and row.properties["description"] == "of\nours"
    assert site.send_form(f"{own}/archive", token).status_code == 303
    assert site.harness.row(row.id).archived and "Restore" in shown(site, "/data/churn/1")
    assert "has no version that is not archived" in shown(site, "/data/churn")
    assert site.open("/studio/data/churn/7").status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a_csv", b"name;n\nZo\xeb;1\n\xff;2\n", ["read as Windows-1252", "Zoë", "integer"]),
        ("b_csv", "a|b\n1|ü\n".encode("utf-16"), [">a<", "ü"]),
        ("c_csv", b'a,b\n"1\x00,2\n', [">a<"]),
        (
            "d_jsonl",
            b'{"a": {"b": [1]}}\nno\n{"c": 2}\n',
            ["{&#34;b&#34;: [1]}", "1 of the lines looked at are not JSON"],
        ),
        ("k_jsonl", b'{"\\ud800": "\\udfff"}', ["All 1 rows"]),
        ("e_parquet", b"PAR1 is not enough", ["It cannot be shown"]),
        ("f_html", SCRIPT.encode(), ["&lt;script&gt;"]),
        ("g_svg", b"<svg onload='alert(1)'/>", ["&lt;svg onload="]),
        ("h_bin", bytes(range(256)), ["It is no text"]),
        ("i_csv", b"", ["All 0 rows"]),
        ("j_txt", b"", ["It is empty"]),
    ],
)
def test_files_are_shown_as_what_they_are(site: FilesSite, name: str, content: bytes, parts: list[str]) -> None:
    folder(site, **{name: content})
    page = shown(site, "/data/mixed/1", tab="files", file=name.replace("_", "."))
    assert not [part for part in parts if part not in page] and "<svg onload" not in page and SCRIPT not in page


def test_a_table_is_read_as_its_mltable_says(site: FilesSite) -> None:
    site.upload("t/sub/x.txt", b"p|q\n1|2\n")
    said = b"paths:\n- file: ./sub/x.txt\ntransformations:\n- read_delimited:\n    delimiter: '|'\n"
    site.upload("t/MLTable", said)
    site.version("data/table/versions/1", dataUri=f"{UPLOADS}/t", dataType="mltable")
    page = shown(site, "/data/table/1", tab="files")
    assert ">p<" in page and "read_delimited" in page
    site.upload("t/MLTable", b"paths:\n- file: ../../secret.csv\n- &a x\n- *a\n")
    assert "aliases" in shown(site, "/data/table/1", tab="files")
    site.upload("t/MLTable", b"paths:\n- file: ../secret.csv\n- pattern: '**/*.csv'\n")
    assert "None of the files that it names is in its folder" in shown(site, "/data/table/1", tab="files")


def test_a_profile_says_of_what_it_is(site: FilesSite) -> None:
    lines = "".join(f"{n},{'' if n % 4 else 'x'},{n:05d}\n" for n in range(6000))
    folder(site, a_csv=f"n,s,id\n{lines}".encode())
    page = shown(site, "/data/mixed/1", tab="profile")
    assert "first 5000 rows; the file has more" in page and "75.0" in page and "<title>313 rows" in page
    assert "00000" in page, "what begins with a nought is no number"
    assert "no such file" in shown(site, "/data/mixed/1", tab="profile", file="missing.txt")
    site.version("data/empty/versions/1", dataUri=f"{UPLOADS}/nothing", dataType="uri_folder")
    assert "None of its first 100 files" in shown(site, "/data/empty/1", tab="profile")


def test_downloads_are_attachments_and_only_pictures_are_shown(site: FilesSite) -> None:
    folder(site, x_html=SCRIPT.encode(), p_png=b"\x89PNG", v_svg=b"<svg/>", sub__y_txt=b"0123456789")
    own = "/studio/data/mixed/1"
    page = site.open(f"{own}/file", {**HERE, "path": "x.html"})
    assert page.text == SCRIPT and page.headers["content-type"] == "application/octet-stream"
    assert (
        page.headers["content-disposition"].startswith("attachment")
        and "sandbox" in page.headers["content-security-policy"]
    )
    part = site.open(f"{own}/file", {**HERE, "path": "sub/y.txt"}, range="bytes=2-4")
    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "234", "bytes 2-4/10")
    picture = site.open(f"{own}/picture", {**HERE, "path": "p.png"})
    assert picture.headers["content-type"] == "image/png" and picture.headers["x-content-type-options"] == "nosniff"
    assert site.open(f"{own}/picture", {**HERE, "path": "v.svg"}).status_code == 415
    assert site.open(f"{own}/file", {**HERE, "path": "gone"}).status_code == 404
    for outside in ("../c.csv", "sub/../../c", "a\\b", "./x"):
        assert site.open(f"{own}/file", {**HERE, "path": outside}).status_code == 400
    assert site.open(f"{own}/file", {**HERE, "path": "x.html"}, cookie="").status_code == 303
    site.allowed = False
    assert site.open(f"{own}/file", {**HERE, "path": "x.html"}).status_code == 403


def test_a_folder_is_one_zip_and_paged(site: FilesSite, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(site, a_txt=b"1", sub__b_txt=b"22" * 300_000, **{f"n{n:03d}_txt": b"x" for n in range(210)})
    answer = site.open("/studio/data/mixed/1/zip", {**HERE, "path": ""})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as whole:
        assert whole.testzip() is None and len(whole.namelist()) == 212
        assert whole.read("sub/b.txt") == b"22" * 300_000
    assert "n207.txt" not in shown(site, "/data/mixed/1", tab="files")
    monkeypatch.setattr("smalt.studio.files.answers.ZIP_FILES_MOST", 100)
    refused = site.open("/studio/data/mixed/1/zip", {**HERE, "path": ""})
    assert refused.status_code == 413 and "more than 100 files" in refused.text


def test_files_elsewhere_are_said_to_be_there(site: FilesSite) -> None:
    site.version("data/web/versions/1", dataUri="https://example.org/a.csv", dataType="uri_file")
    page = site.open("/studio/data/web/1", {**HERE, "tab": "files"})
    assert page.status_code == 200 and "example.org" in page.text and "no storage of this workspace" in page.text


def test_of_a_large_row_group_only_the_first_pages_are_read(site: FilesSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.studio.tables.runner.READ_MOST", 1 << 20)
    kept = io.BytesIO()
    values = array("d", (n * 1.000001 for n in range(400_000)))
    pyarrow.parquet.write_table(
        pyarrow.table({"x": pyarrow.array(values)}), kept, use_dictionary=False, data_page_size=1 << 16
    )
    assert len(kept.getvalue()) > 2 << 20
    folder(site, big_parquet=kept.getvalue())
    page = shown(site, "/data/mixed/1", tab="profile")
    assert "first 5000 rows of 400000" in page and "<td>double" in page
    monkeypatch.setattr("smalt.studio.tables.runner.READ_MOST", 1 << 10)
    assert "would have to be read" in shown(site, "/data/mixed/1", tab="profile")
