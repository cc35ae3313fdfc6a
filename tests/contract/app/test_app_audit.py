"""Refusals, sign-ins and reads of secrets are found in the feed, with who and which request, and never with a secret."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from smalt import app as server
from smalt.arm import audit
from smalt.arm.audit import Audit
from smalt.arm.errors import forbidden
from smalt.arm.ids import workspace_id
from smalt.arm.ports import Principal
from smalt.auth.identities import Identities
from smalt.auth.login_links import LoginLinks
from smalt.settings import RESOURCE_GROUP, STORAGE_AUDIENCE, SUBSCRIPTION, TENANT, WORKSPACE, Settings
from smalt.store import author, changes, feed
from smalt.store.database import Database
from smalt.store.feed import Cursor
from smalt.store.migrate import migrate

HOME = str(workspace_id(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE))
STORE = f"{HOME}/datastores/workspaceblobstore"
TOKEN = "/adfs/tenant.example/oauth2/v2.0/token"


class Site:
    def __init__(self, root: Path) -> None:
        for name in ("run", "logs", "secrets", "tls", "gateway"):
            (root / name).mkdir(mode=0o700)
        self.settings = Settings(root)
        self.server = server.build(self.settings)
        self.server.loop.run_due()
        self.identities = Identities(self.settings, self.server.platform.database)
        self.secret = self.identities.create_service_principal("robot")
        self.guest = self.identities.create_service_principal("guest", f"{HOME}/data")

    def ask(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(self.server.app)
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with httpx.AsyncClient(transport=transport, base_url=self.settings.url) as client:
                return await client.request(method, path, headers=headers | options.pop("headers", {}), **options)

        return asyncio.run(main())

    def sign_in(self, client_id: str, secret: str) -> httpx.Response:
        fields = {"grant_type": "client_credentials", "scope": f"{self.settings.url}/.default"}
        return self.ask("POST", TOKEN, data={**fields, "client_id": client_id, "client_secret": secret})

    def token(self, name: str = "robot") -> str:
        new = self.secret if name == "robot" else self.guest
        return str(self.sign_in(new.identity.client_id, new.secret).json()["access_token"])

    def changes(self, scope: str = f"/subscriptions/{SUBSCRIPTION}", **query: str) -> list[dict[str, Any]]:
        answer = self.ask("GET", f"{scope}/changes", self.token(), params={"$top": "1000", **query})
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def everything(self) -> str:
        with self.server.platform.database.read() as connection:
            return "\n".join(str(row) for row in connection.execute(text("SELECT * FROM change")))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_reads_of_secrets(site: Site) -> None:
    token = site.token()
    read = site.ask("POST", f"{STORE}/listSecrets", token)
    sas = site.ask("GET", f"/datastore/v1.0{HOME}/datastores/workspaceblobstore", token)
    account = site.ask("POST", f"{HOME}/listKeys", token)
    assert (read.status_code, sas.status_code, account.status_code) == (200, 200, 200)
    found = site.changes(HOME, what="secret_read")
    assert [(one["resourceId"], one["reason"], one["actor"], one["requestId"]) for one in found] == [
        (STORE.lower(), "listSecrets", "robot", read.headers["x-ms-request-id"]),
        (STORE.lower(), "datastore", "robot", sas.headers["x-ms-request-id"]),
        (HOME.lower(), "listKeys", "robot", account.headers["x-ms-request-id"]),
    ]
    for secret in (site.secret.secret, read.json()["sasToken"], account.json()["userStorageKey"], token):
        assert secret not in site.everything()


def test_refusals(site: Site) -> None:
    guest = site.token("guest")
    seen = site.ask("GET", f"{HOME}/jobs/x", guest)
    tried = site.ask("POST", f"{STORE}/listSecrets", guest)
    wrong = site.ask("PUT", f"{HOME}/data/x/versions/1", guest, json={"properties": {"dataUri": 5}})
    run = site.ask("GET", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/experiments/get?experiment_id=0", guest)
    site.ask("GET", f"{HOME}/data/x/versions/1", guest)  # a 404 is no refusal
    assert (seen.status_code, tried.status_code, wrong.status_code, run.status_code) == (403, 403, 400, 403)
    found = site.changes(what="refused")
    assert [(one["resourceId"], one["reason"], one["actor"], one["requestId"]) for one in found] == [
        (f"{HOME}/jobs/x".lower(), "GET: 403 AuthorizationFailed", "guest", seen.headers["x-ms-request-id"]),
        (STORE.lower(), "POST listSecrets: 403 AuthorizationFailed", "guest", tried.headers["x-ms-request-id"]),
        (f"{HOME}/data/x/versions/1".lower(), "PUT: 400 ValidationError", "guest", wrong.headers["x-ms-request-id"]),
    ]  # that of MLflow's route is the second of its sort within the minute
    job = Principal("job-oid", "job:gone", "job", TENANT, scope=HOME.lower())  # it has ended
    ended = site.ask("GET", HOME, site.server.platform.tokens.issue(job, site.settings.url, 600))
    last = site.changes(what="refused")[-1]
    assert ended.status_code == 401 and last["requestId"] == ended.headers["x-ms-request-id"]
    assert last["actor"] == "job:gone"


def test_refusals_of_blob_requests(site: Site) -> None:
    key = site.ask("POST", f"{HOME}/listStorageAccountKeys", site.token()).json()["userStorageKey"]
    row = site.ask("GET", f"{HOME}/datastores/workspaceblobstore", site.token()).json()["properties"]
    account = row["accountName"].rpartition("/")[2]
    url = f"/{account}.blob.core.windows.net/{row['containerName']}/x?"
    sas = site.server.platform.blobs.sas(account, "r", 600)
    denied = site.ask("PUT", url + sas, content=b"x", headers={"x-ms-blob-type": "BlockBlob"})
    forged = site.ask("GET", url + sas.replace("sp=r", "sp=rw"))
    guest = site.server.platform.tokens.issue(
        Principal("g", "guest", "servicePrincipal", TENANT, scope=f"{HOME}/data"), STORAGE_AUDIENCE, 600
    )
    token = site.ask("GET", url, guest)
    missing = site.ask("GET", url + sas)
    site.ask("GET", url)
    assert [one.status_code for one in (denied, forged, token, missing)] == [403, 403, 403, 404]
    found = site.changes(what="refused")
    assert [(one["reason"], one["actor"], one["requestId"]) for one in found] == [
        ("blob PUT: 403 AuthorizationPermissionMismatch", f"a signature of {account}", _id(denied)),
        ("blob GET: 403 AuthenticationFailed", "unknown", _id(forged)),
        ("blob GET: 403 AuthorizationPermissionMismatch", "guest", _id(token)),
    ]
    assert {one["resourceId"].rpartition("/")[2] for one in found} == {account}
    assert {one["type"] for one in found} == {"Microsoft.Storage/storageAccounts"}
    for secret in (key, sas.partition("sig=")[2], guest):
        assert secret not in site.everything()


def test_a_flood_of_blob_requests_leaves_a_handful_of_rows(site: Site) -> None:
    for number in range(300):
        url = f"/nobody{number}.blob.core.windows.net/c/{number}?sv=2023-11-03&ss=b&srt=sco&sp=r&se=2099-01-01&sig={number}"
        assert site.ask(f"GET{number}" if number % 2 else "GET", url).status_code == 403
    site.server.platform.audit.settle(all_=True)
    found = site.changes(what="refused")
    assert [one["reason"] for one in found] == [
        "blob GET: 403 AuthenticationFailed",
        "blob other: 403 AuthenticationFailed",
        "blob GET: 403 AuthenticationFailed (149 more times)",
        "blob other: 403 AuthenticationFailed (149 more times)",
    ]


def _id(answer: httpx.Response) -> str:
    return answer.headers["x-ms-request-id"]


def test_who_shows_no_token_leaves_nothing(site: Site) -> None:
    before = site.everything()
    for path in (HOME, f"{HOME}/jobs", f"/mlflow/v1.0{HOME}/api/2.0/mlflow/experiments/get"):
        assert site.ask("GET", path, "x.y.z").status_code == 401
        assert site.ask("PUT", path).status_code in (401, 403)
    assert site.everything() == before


def test_sign_ins(site: Site) -> None:
    link = LoginLinks(site.settings).mint()
    opened = site.ask("GET", link.removeprefix(site.settings.url))
    again = site.ask("GET", link.removeprefix(site.settings.url))
    good = site.sign_in(site.secret.identity.client_id, site.secret.secret)
    bad = site.sign_in(site.secret.identity.client_id, "guessed-secret")
    nobody = site.sign_in("no-such-client", "guessed-secret")
    header = site.server.platform.identity_headers.owner()  # type: ignore[attr-defined]
    managed = site.ask("GET", "/msi/token?api-version=2019-08-01&resource=x", headers={"x-identity-header": header})
    wrong = site.ask("GET", "/msi/token?api-version=2019-08-01&resource=x", headers={"x-identity-header": "guess"})
    owner = site.identities.owner.name
    answers = {
        "login link": (opened, "signed_in", owner),
        "login link: used or over": (again, "sign_in_refused", "unknown"),
        "client secret": (good, "signed_in", "robot"),
        "token: 7000215": (bad, "sign_in_refused", "robot"),
        "token: 700016": (nobody, "sign_in_refused", "unknown"),
        "managed identity": (managed, "signed_in", owner),
        "managed identity: wrong header": (wrong, "sign_in_refused", "unknown"),
    }
    found = {one["reason"]: one for one in site.changes(what="signed_in,sign_in_refused")}
    assert [answer.status_code for answer, *_ in answers.values()] == [303, 403, 200, 401, 401, 200, 401]
    assert {how: (one["what"], one["actor"], one["requestId"]) for how, one in found.items()} == {
        how: (what, who, answer.headers["x-ms-request-id"]) for how, (answer, what, who) in answers.items()
    }
    for said in ("guessed-secret", "no-such-client", header, link.partition("code=")[2]):
        assert said not in site.everything()


@pytest.fixture
def database(tmp_path: Path, database_url: str) -> Any:
    made = Database(database_url or f"sqlite:///{tmp_path / 'smalt.db'}")
    migrate(made)
    yield made
    made.close()


def test_a_flood_leaves_a_handful_of_rows(database: Database) -> None:
    """Ten days of one refusal a second, of somebody who is known, and of a hundred thousand names of nobody."""
    now = [1000.0]
    recorder = Audit(database, lambda: now[0])
    with author.on_behalf("r"):
        author.identified("guest", answerable=True)
        for number in range(10 * 24 * 360):
            now[0] += 10
            recorder.refused(forbidden("no"), "POST", f"{HOME}/jobs/{number}/made{'up' * (number % 15)}")
        recorder.settle(all_=True)
        for number in range(5000):
            recorder.sign_in_refused(f"name-{number}", "token: 1")
    with database.read() as connection:
        found = feed.after(connection, Cursor(), most=10_000).changes
    refusals = [one for one in found if one.what == "refused"]
    told = sum(int(one.reason.rpartition("(")[2].split()[0]) for one in refusals if one.reason.endswith("more times)"))
    assert len(refusals) < 300 and told + 1 == 10 * 24 * 360, "and none is lost"
    assert len(found) - len(refusals) <= audit.KINDS_MOST + 1


def test_what_cannot_be_recorded_is_no_failure(tmp_path: Path) -> None:
    gone = Database(f"sqlite:///{tmp_path / 'none.db'}")  # without tables
    with author.on_behalf("r"):
        Audit(gone, lambda: 1.0).signed_in("ada", "client secret")
    gone.close()
    assert changes.AUDIT_KEPT_S > changes.KEPT_S
