"""What clients call before they have a token: cloud metadata, managed identities, OAuth, the browser's login."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from smalt.arm.audit import Audit
from smalt.arm.cloud import ONE_CLOUD_VERSION, public_metadata
from smalt.arm.ports import ASSIGNED_IDENTITY, Principal
from smalt.auth.identities import MANAGED_IDENTITY, Identities
from smalt.auth.identity_headers import HeaderGrant, IdentityHeaders
from smalt.auth.oauth import LONGEST_AUDIENCE, NOT_STORED, OAuthEndpoints
from smalt.auth.sessions import Sessions
from smalt.auth.tokens import TokenService
from smalt.auth.traced import traced
from smalt.settings import Settings

MANAGED_TOKEN_LIFETIME_S = 86_400.0  # as Azure's
# Of a job, a replica or an instance, with whatever identity: Envoy alone looks at tokens of endpoints, and does not
# know that these have ended.
TASK_TOKEN_LIFETIME_S = 3600.0
SECRET_HEADERS = {"2019-08-01": "x-identity-header", "2017-09-01": "secret"}
WHICH_IDENTITY = ("client_id", "clientid", "object_id", "principal_id", "mi_res_id", "msi_res_id")
ONLY_ONE = "What runs here has its own identity and no other: leave the id out, ManagedIdentityCredential()."
USED_LINK = (
    "<!doctype html><meta charset=utf-8><title>Smalt</title><p>This login link was used already, or is older than ten "
    "minutes. Run <code>smalt up</code> again on the machine: it prints a new one."
)


class Login:
    """Routes for `app.py`: none of them asks for a token. `clock` is seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        tokens: TokenService,
        identities: Identities,
        headers: IdentityHeaders,
        sessions: Sessions,
        clock: Callable[[], float] = time.time,
        audit: Audit | None = None,
    ) -> None:
        self._tokens = tokens
        self._identities = identities
        self._headers = headers
        self._sessions = sessions
        self._clock = clock
        self._audit = audit
        self._clouds = public_metadata(settings, "").encode()
        self._one_cloud = public_metadata(settings, ONE_CLOUD_VERSION).encode()
        self._oauth = OAuthEndpoints(tokens, identities, audit)

    def routes(self) -> list[Route]:
        return [
            Route("/metadata/endpoints", self.metadata, methods=["GET"]),
            Route("/msi/token", traced(self.managed_identity), methods=["GET"]),
            Route("/obo/token", traced(self.on_behalf), methods=["GET"]),
            Route("/login", traced(self.login), methods=["GET"]),
            Route("/logout", self.logout, methods=["POST"]),
            *self._oauth.routes(),
        ]

    async def metadata(self, request: Request) -> Response:
        one = request.query_params.get("api-version") == ONE_CLOUD_VERSION
        return Response(self._one_cloud if one else self._clouds, media_type="application/json")

    async def managed_identity(self, request: Request) -> Response:
        """App Service's managed identity protocol.

        https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
        """
        query = request.query_params
        secret_header = SECRET_HEADERS.get(query.get("api-version", ""))
        if secret_header is None:
            return _refusal(400, f"The api-version must be one of {', '.join(SECRET_HEADERS)}.")
        grant = await run_in_threadpool(self._headers.read, request.headers.get(secret_header, ""))
        if grant is None:
            await self._refused("managed identity: wrong header")
            return _refusal(401, f"The header {secret_header} is missing, wrong, or no longer valid.")
        if (refusal := _not_a_resource(query.get("resource", ""))) is not None:
            return refusal
        wanted = next((query[name] for name in WHICH_IDENTITY if query.get(name)), "")
        principal = await run_in_threadpool(self._identity, grant.principal, wanted)
        if principal is None:
            hint = f" {ONLY_ONE}" if grant.principal.acts_for_what_runs else ""
            return _refusal(400, f"No managed identity '{wanted[:200]}' is assigned here.{hint}")
        return await self._given(grant, principal, query["resource"], "managed identity")

    async def on_behalf(self, request: Request) -> Response:
        """What `AzureMLOnBehalfOfCredential` asks inside a job: a token of whoever submitted it.

        It sends no header: what opens this is in the URL that the job was given.
        """
        query = request.query_params
        grant = await run_in_threadpool(self._headers.read, query.get("key", ""))
        if grant is None or not grant.holder:
            await self._refused("on behalf: wrong key")
            return _refusal(401, "The key of OBO_ENDPOINT is missing, wrong, or its job has ended.")
        if (refusal := _not_a_resource(query.get("resource", ""))) is not None:
            return refusal
        return await self._given(grant, grant.principal, query["resource"], "on behalf, in a job")

    async def _given(self, grant: HeaderGrant, principal: Principal, resource: str, how: str) -> Response:
        if self._audit is not None:
            await run_in_threadpool(self._audit.signed_in, principal.name, how)
        return self._token_response(grant, principal, resource)

    async def login(self, request: Request) -> Response:
        cookie = await run_in_threadpool(self._sessions.redeem, request.query_params.get("code", ""))
        if cookie is None:
            await self._refused("login link: used or over")
            return HTMLResponse(USED_LINK, 403)
        if self._audit is not None:
            await run_in_threadpool(self._audit.signed_in, self._identities.owner.name, "login link")
        target = request.query_params.get("next", "/")
        answer = RedirectResponse(target if _is_local(target) else "/", 303, headers={"Referrer-Policy": "no-referrer"})
        answer.headers["Set-Cookie"] = cookie
        return answer

    async def logout(self, request: Request) -> Response:
        headers = request.scope["headers"]
        if self._sessions.read("POST", headers) is None:
            return Response(status_code=403)
        cookie = await run_in_threadpool(self._sessions.end, headers)
        return Response(status_code=204, headers={"Set-Cookie": cookie})

    async def _refused(self, why: str) -> None:
        if self._audit is not None:
            await run_in_threadpool(self._audit.sign_in_refused, "", why)

    def _identity(self, holder: Principal, wanted: str) -> Principal | None:
        """The holder of the header, or the managed identity that it asks for.

        Only the owner has others to choose from.
        """
        if wanted in ("", holder.client_id, holder.oid):
            return holder
        if holder.kind != "owner":
            return None
        known = (one for kind in (MANAGED_IDENTITY, ASSIGNED_IDENTITY) for one in self._identities.list(kind))
        return next((one.principal for one in known if wanted in (one.client_id, one.oid)), None)

    def _token_response(self, grant: HeaderGrant, principal: Principal, resource: str) -> Response:
        now = self._clock()
        is_tasks = bool(grant.holder) or principal.acts_for_what_runs
        lifetime_s = TASK_TOKEN_LIFETIME_S if is_tasks else MANAGED_TOKEN_LIFETIME_S
        if principal.acts_for_what_runs:
            principal = replace(principal, holder=grant.holder)
        if grant.expires_at is not None:
            lifetime_s = min(lifetime_s, grant.expires_at - now)
        expires_on = int(now) + int(lifetime_s)
        body: dict[str, Any] = {
            "access_token": self._tokens.issue(principal, resource, lifetime_s),
            "expires_on": str(expires_on),
            "expires_in": str(int(lifetime_s)),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": principal.client_id,
        }
        return JSONResponse(body, headers=NOT_STORED)


def _not_a_resource(given: str) -> Response | None:
    if given and len(given) <= LONGEST_AUDIENCE and given.isprintable():
        return None
    return _refusal(400, "The parameter 'resource' must name the resource that the token is for.")


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"statusCode": status, "message": message}, status, headers=NOT_STORED)


def _is_local(target: str) -> bool:
    return target.startswith("/") and target[1:2] not in ("/", "\\") and target.isprintable() and "\\" not in target
