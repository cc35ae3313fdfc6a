"""The edge without MLflow: who gets in, files, what is refused. Real tokens, real blob store."""

from __future__ import annotations

import asyncio
import gzip
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy import select
from starlette.responses import Response

from fakes import mlflow_tables
from fakes.tracking_edge import OTHER, WORKSPACE, Edge
from smalt.arm.ids import workspace_id
from smalt.tracking.database import schema
from smalt.tracking.edge.app import BODY_LIMIT_BYTES
from smalt.tracking.edge.searches import Turns

FILES = "/api/2.0/mlflow-artifacts/artifacts"
Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Edge:
    return Edge(tmp_path_factory.mktemp("edge"))  # once: its keys take a while to make


@pytest.fixture
def edge(made: Edge) -> Iterator[Edge]:
    yield made
    shutil.rmtree(made.settings.blobs / "acctw", ignore_errors=True)


def test_without_a_token_nobody_gets_in(edge: Edge) -> None:
    for header in (
        "",
        "Bearer",
        "Bearer x.y.z",
        f"Bearer {edge.token(audience='https://elsewhere')}",
        f"Bearer {edge.token(lifetime_s=-3600)}",
    ):
        answer = edge.ask("GET", FILES, headers={"Authorization": header})
        assert answer.status_code == 401, header
        assert answer.json()["error_code"] == "UNAUTHENTICATED"
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_jobs_token_opens_its_own_workspace_only(edge: Edge) -> None:
    headers = {"Authorization": f"Bearer {edge.token(WORKSPACE.key, 'job')}"}
    assert edge.ask("GET", FILES, headers=headers).status_code == 200
    answer = edge.ask("GET", FILES, OTHER, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_workspace_that_is_not_there(edge: Edge) -> None:
    answer = edge.ask("GET", FILES, workspace_id("s", "g", "missing"))
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    azure = edge.ask("GET", "/experiments/e/runs/r/artifacts", workspace_id("s", "g", "missing"), "/history/v1.0")
    assert (azure.status_code, azure.json()["error"]["code"]) == (404, "ResourceNotFound")


def test_files(edge: Edge) -> None:
    path = f"{FILES}/ExperimentRun/dcid.job/sub/a%20b.txt"
    assert edge.ask("PUT", path, content=b"0123456789").status_code == 200
    stored = edge.blobs.path("acctw", "azureml")
    assert (stored / "ExperimentRun/dcid.job/sub/a b.txt").read_bytes() == b"0123456789"
    answer = edge.ask("GET", path)
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert answer.headers["content-disposition"].startswith("attachment")
    part = edge.ask("GET", path, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert edge.ask("GET", path, headers={"Range": "bytes=-3"}).content == b"789"
    assert edge.ask("GET", path, headers={"Range": "bytes=50-"}).status_code == 416
    assert edge.ask("GET", path, headers={"Range": f"bytes=0-{'9' * 5000}"}).content == b"0123456789"
    listed = edge.ask("GET", f"{FILES}?path=ExperimentRun/dcid.job").json()
    assert listed == {"files": [{"path": "sub", "is_dir": True}]}
    same = edge.ask("GET", f"{FILES}?path=3/job/artifacts/sub").json()
    assert same == {"files": [{"path": "a b.txt", "is_dir": False, "file_size": 10}]}
    assert edge.ask("DELETE", path).status_code == 200
    assert edge.ask("GET", path).status_code == 404


def test_an_upload_that_breaks_off_leaves_nothing(edge: Edge) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b"half"

    answer = edge.ask("PUT", f"{FILES}/ExperimentRun/dcid.job/x", content=half(), headers={"Content-Length": "100"})
    assert answer.status_code == 400
    assert edge.ask("GET", f"{FILES}?path=ExperimentRun/dcid.job").json() == {}
    assert [path for path in edge.settings.blobs.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "path",
    ["%2e%2e/%2e%2e/x", "ExperimentRun/..%2f..%2fx", "..%5cx", "%2Fetc/%2e%2e/passwd", "a%00b", "x" * 300, ""],
)
def test_a_path_that_climbs_out_is_refused(edge: Edge, path: str) -> None:
    assert edge.ask("PUT", f"{FILES}/{path}", content=b"x").status_code == 400
    assert [one for one in edge.settings.blobs.rglob("*") if one.is_file()] == []


def test_a_link_out_of_the_store_is_not_followed(edge: Edge, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    edge.ask("PUT", f"{FILES}/ExperimentRun/dcid.job/x", content=b"x")
    folder = edge.blobs.path("acctw", "azureml") / "ExperimentRun/dcid.job"
    (folder / "link").symlink_to(tmp_path)
    assert edge.ask("GET", f"{FILES}/ExperimentRun/dcid.job/link/secret").status_code == 409
    assert edge.ask("GET", f"{FILES}?path=ExperimentRun/dcid.job/link").json() == {}


def test_multipart_is_refused_in_the_words_that_make_clients_fall_back(edge: Edge) -> None:
    answer = edge.ask(
        "POST", "/api/2.0/mlflow-artifacts/mpu/create/ExperimentRun/dcid.job", json={"path": "x", "num_parts": 2}
    )
    assert answer.status_code == 501
    assert answer.json()["message"].startswith("Multipart upload is not supported for the current artifact repository")


def test_a_body_that_is_too_large_is_refused_while_it_comes(edge: Edge) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(BODY_LIMIT_BYTES // (1 << 20) + 1):
            yield b"x" * (1 << 20)
        raise AssertionError("read beyond the limit")

    for options in ({"content": endless()}, {"content": b"", "headers": {"Content-Length": str(100 << 20)}}):
        answer = edge.ask("POST", "/api/2.0/mlflow/runs/log-batch", **options)
        assert (answer.status_code, answer.json()["error_code"]) == (413, "REQUEST_LIMIT_EXCEEDED")


def test_a_compressed_body_is_bounded_by_what_it_becomes(edge: Edge) -> None:
    bomb = gzip.compress(bytes(BODY_LIMIT_BYTES + 1))
    for encoding, body, status in (("gzip", bomb, 413), ("gzip", b"no", 400), ("zstd", b"x", 415)):
        answer = edge.ask("POST", "/v1/traces", content=body, headers={"Content-Encoding": encoding})
        assert answer.status_code == status and set(answer.json()) == {"error_code", "message"}


def test_a_search_that_would_hold_up_mlflow_is_refused(edge: Edge) -> None:
    many = " and ".join(["metrics.a > 1"] * 1000)
    for service in ("api", "ajax-api"):
        for ask in (
            lambda base: edge.ask("POST", f"/{base}/2.0/mlflow/runs/search", json={"filter": many}),
            lambda base: edge.ask("GET", f"/{base}/2.0/mlflow/model-versions/search", params={"filter": many}),
        ):
            answer = ask(service)
            assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_searches_of_one_principal_beyond_the_limit_are_told_to_come_again(edge: Edge) -> None:
    async def main() -> list[httpx.Response]:
        edge.app._searches, go = Turns(running=2, of_one=2, waiting=1), asyncio.Event()

        async def respond(*_: object) -> Response:
            await go.wait()
            return Response(b"{}")

        edge.app._forward = SimpleNamespace(respond=respond)  # type: ignore[assignment]
        edge.app._prepare = lambda *_: asyncio.sleep(0)  # type: ignore[method-assign]
        transport = httpx.ASGITransport(edge.app)
        async with httpx.AsyncClient(transport=transport, base_url=edge.settings.url) as client:

            def send(rest: str, kind: str, scope: str) -> asyncio.Task[httpx.Response]:
                headers = {"Authorization": f"Bearer {edge.token(scope, kind)}"}
                url = f"/mlflow/v1.0{WORKSPACE}/api/2.0/mlflow/{rest}"
                return asyncio.create_task(client.post(url, headers=headers, json={}))

            mine = [send("runs/search", "owner", "") for _ in range(4)]
            await asyncio.wait(mine, return_when=asyncio.FIRST_COMPLETED)
            others = [send("runs/search", "job", WORKSPACE.key), send("runs/log-batch", "owner", "")]
            assert not (await asyncio.wait(others, timeout=0.05))[0]
            go.set()
            return await asyncio.gather(*mine, *others)

    kept = {name: edge.app.__dict__.get(name) for name in ("_searches", "_forward")}
    try:
        answers = asyncio.run(main())
    finally:
        edge.app.__dict__.update(kept)
        del edge.app.__dict__["_prepare"]
    (refused,) = [one for one in answers if one.status_code != 200]
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"


def test_what_mlflows_server_has_beside_tracking_is_not_there(edge: Edge) -> None:
    for path in ("/api/3.0/mlflow/workspaces", "/ajax-api/3.0/mlflow/assistant/config", "/api/2.0/mlflow/webhooks"):
        assert edge.ask("GET", path).status_code == 404


def test_while_mlflow_is_away_it_says_when_to_come_again(edge: Edge) -> None:
    answer = edge.ask("GET", "/api/2.0/mlflow/runs/get?run_id=x")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


def test_a_workspace_made_again_is_made_in_mlflow_again(tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    mlflow_tables.make(edge.settings)
    for account in ("acctw", "acctnew"):
        edge.account = account
        assert (
            edge.ask("GET", "/api/2.0/mlflow/runs/get?run_id=x").status_code == 503
        )  # from MLflow's process, which is away
        with edge.tracking.database.read() as connection:
            assert [row.account for row in connection.execute(select(schema.accounts))] == [account]
        edge.tracking.remove_workspace(WORKSPACE.key)
        edge.app.ended(WORKSPACE.key)


def test_the_ui_is_below_a_slash(edge: Edge) -> None:
    answer = edge.ask("GET", "")
    assert (answer.status_code, answer.headers["location"]) == (308, f"/mlflow/v1.0{WORKSPACE}/")


def test_azures_artifact_service(edge: Edge) -> None:
    base = "/experiments/7/runs/job/artifacts"
    edge.ask("PUT", f"{FILES}/ExperimentRun/dcid.job/old.txt", content=b"old")
    made = edge.ask(
        "POST",
        f"{base}/batch/metadata",
        prefix="/history/v1.0",
        json={"paths": [{"path": "a/new.txt"}, {"path": "old.txt"}]},
    ).json()
    uri = made["artifactContentInformation"]["a/new.txt"]["contentUri"]
    assert uri.startswith(f"{edge.settings.account_url('acctw')}/azureml/ExperimentRun/dcid.job/a/new.txt?")
    assert "sig=" in uri and "sr=b" in uri
    assert edge.ask("GET", base, prefix="/history/v1.0").json() == {"value": []}  # the old one made way
    edge.ask("PUT", f"{FILES}/ExperimentRun/dcid.job/a/new.txt", content=b"new")
    assert [one["path"] for one in edge.ask("GET", base, prefix="/history/v1.0").json()["value"]] == ["a/new.txt"]
    found = edge.ask("GET", f"{base}/contentinfo?path=a/new.txt", prefix="/history/v1.0").json()
    assert "sp=r&" in found["contentUri"]
    assert edge.ask("GET", f"{base}/contentinfo?path=a", prefix="/history/v1.0").status_code == 404
    first = edge.ask("GET", "/artifacts/contentinfo/ExperimentRun/dcid.job/a/new.txt", prefix="/artifact/v2.0").json()
    assert first["path"] == "a/new.txt" and "sp=r&" in first["contentUri"]  # as azureml.core asks
    again = edge.ask(
        "POST",
        "/artifacts/batch/metadata/ExperimentRun/dcid.job",
        prefix="/artifact/v2.0",
        json={"paths": [{"path": "b"}]},
    ).json()
    assert "/azureml/ExperimentRun/dcid.job/b?" in again["artifactContentInformation"]["b"]["contentUri"]
    loose = edge.ask(
        "POST", "/artifacts/LocalUpload/x/batch/metadata", prefix="/artifact/v2.0", json={"paths": [{"path": "m"}]}
    ).json()
    assert "/azureml/LocalUpload/x/m?" in loose["artifactContentInformation"]["m"]["contentUri"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b'{"paths": [1]}', b'{"paths": [{"path": 1}]}', b'{"paths": [{"path": "../../x"}]}'),
        b'{"paths": ' + b"[" * 100_000,
    ],
    ids=len,
)
def test_azures_artifact_service_refuses_nonsense(edge: Edge, body: bytes) -> None:
    answer = edge.ask("POST", "/experiments/7/runs/job/artifacts/batch/metadata", prefix="/history/v1.0", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ValidationError")
