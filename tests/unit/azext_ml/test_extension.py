"""The wheel for `az`: the same bytes each time, complete, and with nothing of the rest of Smalt in it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
from starlette.applications import Starlette

from smalt.web import extension

URL = "https://localhost:7443"


def archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(extension.wheel()))


def test_it_is_reproducible() -> None:
    first = extension.wheel()
    extension.wheel.cache_clear()
    assert extension.wheel() == first
    assert {one.date_time for one in archive().infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_its_record_holds_every_file() -> None:
    packed = archive()
    (record,) = [name for name in packed.namelist() if name.endswith(".dist-info/RECORD")]
    rows = dict(line.split(",", 1) for line in packed.read(record).decode().splitlines())
    assert set(rows) == set(packed.namelist())
    for name in set(rows) - {record}:
        digest = base64.urlsafe_b64encode(hashlib.sha256(packed.read(name)).digest()).rstrip(b"=").decode()
        assert rows[name] == f"sha256={digest},{len(packed.read(name))}"


def test_it_runs_from_the_wheel_without_smalt(tmp_path: Path) -> None:
    (tmp_path / "ml.whl").write_bytes(extension.wheel())
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'ml.whl')!r})\n"
        "import azext_ml.terminal, azext_ml.login, azext_ml.groups\n"
        "print(len(azext_ml.groups.COMMANDS), any(one.split('.')[0] == 'smalt' for one in sys.modules))"
    )
    told = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(len(__import__("smalt.azext_ml.groups").azext_ml.groups.COMMANDS)), "False"]


def test_what_az_needs_of_it() -> None:
    packed = archive()
    names = packed.namelist()
    assert [one for one in names if one.count("/") == 1 and one.endswith("__init__.py")] == ["azext_ml/__init__.py"]
    assert json.loads(packed.read("azext_ml/azext_metadata.json"))["azext.minCliCoreVersion"] == extension.OLDEST_CLI
    (metadata,) = [name for name in names if name.endswith("METADATA")]
    assert f"Requires-Dist: {extension.SDK}" in packed.read(metadata).decode()
    assert not [name for name in names if name.endswith((".pyc", "/"))]


def test_the_index_leads_to_it() -> None:
    async def check() -> None:
        transport = httpx.ASGITransport(Starlette(routes=list(extension.routes(URL))))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            (entry,) = (await client.get(extension.INDEX)).json()["extensions"]["ml"]
            assert entry["downloadUrl"].endswith(entry["filename"])
            got = await client.get(entry["downloadUrl"])
            assert hashlib.sha256(got.content).hexdigest() == entry["sha256Digest"]
            assert (await client.get("/extensions/other.whl")).status_code == 404

    asyncio.run(check())
