"""Packages of an index that asks for a password: the credentials reach uv, and stay nowhere else."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest

from smalt.arm.ports import EnvironmentPlan, EnvironmentSpec, Feed, Login
from smalt.environments import UvEnvironments
from smalt.settings import Settings

SECRET = "t0p/s3cret:p@ss%w+rd"
LOGIN = Login("builder", quote(SECRET, safe=""))  # as clients are told to write it
NO_PIP = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "", "PIP_EXTRA_INDEX_URL": ""}


@functools.cache  # it holds the time that it was made at: the second one has another hash
def wheel(name: str) -> bytes:
    content = BytesIO()
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "WHERE = 'private'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
    return content.getvalue()


OPENS = {"one": f"builder:{SECRET}", "two": "__token__:an0ther-s3cret"}


class Index(BaseHTTPRequestHandler):
    """Two folders, `/one/simple/` and `/two/simple/`, each opened by its own password, with one package each."""

    def do_GET(self) -> None:
        _, folder, _, *rest = self.path.split("/")
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if base64.b64decode(given).decode() != OPENS[folder]:
            self.answer(401, b"", "text/plain")
        elif rest[0] != f"private-{folder}":
            self.answer(404, b"", "text/plain")
        elif rest[1:] in ([], [""]):
            name = f"private_{folder}-1.0-py3-none-any.whl"
            digest = hashlib.sha256(wheel(f"private_{folder}")).hexdigest()
            self.answer(200, f'<a href="{name}#sha256={digest}">{name}</a>'.encode(), "text/html")
        else:
            self.answer(200, wheel(f"private_{folder}"), "application/octet-stream")

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def index() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def environments(tmp_path: Path) -> UvEnvironments:
    variables = {key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY")}
    return UvEnvironments(Settings(tmp_path / "root"), {**variables, **NO_PIP, "UV_HTTP_RETRIES": "0"})


def spec(index: str, *feeds: Feed, options: str = "") -> EnvironmentSpec:
    """Only what the index has: pip itself is not in it."""
    text = options or f"--index-url {index}/one/simple/\nprivate-one==1.0"
    return EnvironmentSpec(name="private", pip_requirements=text, feeds=feeds)


def without_seeds(plan: EnvironmentPlan) -> EnvironmentPlan:
    return EnvironmentPlan(plan.key, {**plan.definition, "seeds": []}, plan.summary)


def build(environments: UvEnvironments, plan: EnvironmentPlan, logins: dict[str, Login]) -> tuple[int, str]:
    """The exit status, and all that was said; while it runs, no process of its shows a secret on its command line."""
    task = environments.task(without_seeds(plan), "/o", 1, logins)
    assert SECRET not in json.dumps(task.argv) and LOGIN.password not in json.dumps(task.argv)
    ran = subprocess.run(task.argv, env=task.variables, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def secrets_in(folder: Path) -> list[str]:
    """Files that hold a secret, in any of the forms that it has on its way."""
    basic = base64.b64encode(f"builder:{SECRET}".encode())
    forms = [SECRET.encode(), LOGIN.password.encode(), basic, b"an0ther-s3cret"]
    files = [one for one in folder.rglob("*") if one.is_file() and not one.is_symlink()]
    return [str(one) for one in files if any(form in one.read_bytes() for form in forms)]


def test_a_feed_opens_its_index_and_leaves_no_trace(
    environments: UvEnvironments, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    environments._variables["TMPDIR"] = str(scratch)
    plan = environments.plan(spec(index, Feed(f"{index}/one", "/c/one")))
    address = f"{index}/one/simple/"
    assert plan.definition["feeds"] == {address: "/c/one"}
    code, log = build(environments, plan, {address: LOGIN})
    assert code == 0, log
    assert environments.built(plan.key) is not None
    command = [
        str(environments.prefix(plan.key) / "bin" / "python"),
        "-c",
        "import private_one; print(private_one.WHERE)",
    ]
    assert subprocess.check_output(command, text=True).strip() == "private"
    assert SECRET not in log and LOGIN.password not in log
    assert secrets_in(tmp_path) == []


def test_two_feeds_of_one_host_have_each_its_own_password(environments: UvEnvironments, index: str) -> None:
    options = (
        f"--index-url {index}/one/simple/\n--extra-index-url {index}/two/simple/\nprivate-one==1.0\nprivate-two==1.0"
    )
    plan = environments.plan(
        spec(index, Feed(f"{index}/one", "/c/one"), Feed(f"{index}/two", "/c/two"), options=options)
    )
    logins = {f"{index}/one/simple/": LOGIN, f"{index}/two/simple/": Login("__token__", "an0ther-s3cret")}
    code, log = build(environments, plan, logins)
    assert code == 0, log


@pytest.mark.parametrize("logins", [{}, {"password": "wr0ng"}])
def test_without_the_right_password_the_build_fails_and_names_the_package(
    environments: UvEnvironments, index: str, logins: dict[str, str]
) -> None:
    plan = environments.plan(spec(index, Feed(index, "/c/one")))
    given = {f"{index}/one/simple/": Login("builder", one) for one in logins.values()}
    code, log = build(environments, plan, given)
    assert code == 1 and "wr0ng" not in log + environments.failure(plan.key)
    failure = environments.failure(plan.key)
    assert "'private-one' cannot be had" in failure and "refused" in failure and "PythonFeed" in failure


def test_what_was_built_with_a_feed_is_not_for_those_without(environments: UvEnvironments, index: str) -> None:
    mine = environments.plan(spec(index, Feed(index, "/workspaces/a/connections/feed")))
    theirs = environments.plan(spec(index, Feed(index, "/workspaces/b/connections/feed")))
    nobodys = environments.plan(spec(index))
    elsewhere = environments.plan(spec(index, Feed("https://feed.example", "/c")))
    assert len({mine.key, theirs.key, nobodys.key}) == 3 and nobodys.key == elsewhere.key


def test_the_key_does_not_know_the_secret() -> None:
    assert set(Feed.__dataclass_fields__) == {"target", "connection"}
