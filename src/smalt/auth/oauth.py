"""The OAuth 2.0 token endpoint under `/adfs`, for service principals with a secret, a certificate or a federated token.

The `adfs` segment makes MSAL skip its look-up of the public instance, for any tenant; so any tenant is answered that
could be one of Azure's, and all mean this platform: user code has those of elsewhere written down. Errors have OAuth's
shape (RFC 6749, 5.2) with the fields that MSAL reads, and Entra's codes.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from smalt.arm.audit import Audit
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.identities import Identities
from smalt.auth.tokens import TokenService
from smalt.auth.traced import traced

TOKEN_LIFETIME_S = 3600
LONGEST_BODY = 65_536
LONGEST_AUDIENCE = 1024
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TENANT = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=.{1,253}$)[\w-]+(\.[\w-]+)+|common|organizations|consumers|adfs",
    re.ASCII | re.IGNORECASE,
)
NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status, self.error, self.description = status, error, description


class OAuthEndpoints:
    def __init__(self, tokens: TokenService, identities: Identities, audit: Audit | None = None) -> None:
        self._tokens = tokens
        self._identities = identities
        self._audit = audit

    def routes(self) -> list[Route]:
        found: list[Route] = []
        for base in ("/adfs/{tenant}", "/adfs"):
            for version in ("", "/v2.0"):
                found += [
                    _route(f"{base}/oauth2{version}/token", self.token, "POST"),
                    _route(f"{base}/oauth2{version}/authorize", self.authorize, "GET", "POST"),
                    _route(f"{base}/oauth2{version}/devicecode", self.device_code, "POST"),
                    _route(f"{base}{version}/.well-known/openid-configuration", self.discovery, "GET"),
                ]
            found.append(_route(f"{base}/discovery/keys", self.keys, "GET"))
        return found

    async def token(self, request: Request) -> Response:
        """Client credentials in, `{"access_token", "expires_in", "token_type"}` out."""
        fields = await _form(request)
        answer = await run_in_threadpool(self._recorded, fields, request.headers.get("authorization", ""))
        return JSONResponse(answer, headers=NOT_STORED)

    async def discovery(self, request: Request) -> Response:
        return JSONResponse(self._tokens.discovery(request.path_params.get("tenant", "")))

    async def keys(self, _request: Request) -> Response:
        return JSONResponse(self._tokens.jwks())

    async def authorize(self, _request: Request) -> Response:
        said = "Interactive sign-in is not offered by this server: use its managed identity or a service principal."
        raise OAuthError(400, "unsupported_response_type", said)

    async def device_code(self, _request: Request) -> Response:
        said = "Device code sign-in is not offered by this server: use its managed identity or a service principal."
        raise OAuthError(400, "unauthorized_client", said)

    def _recorded(self, fields: Mapping[str, str], authorization: str) -> dict[str, Any]:
        """`_grant`, and in the feed who signed in, or tried to."""
        if self._audit is None:
            return self._grant(fields, authorization)
        try:
            granted = self._grant(fields, authorization)
        except OAuthError as error:
            self._audit.sign_in_refused(self._name(fields, authorization), f"token: {_code(error) or error.error}")
            raise
        how = "client assertion" if fields.get("client_assertion") else "client secret"
        self._audit.signed_in(self._name(fields, authorization), how)
        return granted

    def _name(self, fields: Mapping[str, str], authorization: str) -> str:
        """Of the identity that a request is about; '' where there is none such."""
        client_id = fields.get("client_id", "")
        if authorization:
            with contextlib.suppress(OAuthError):
                client_id, _ = _basic(authorization)
        return self._identities.name_of(client_id)

    def _grant(self, fields: Mapping[str, str], authorization: str) -> dict[str, Any]:
        grant = fields.get("grant_type", "")
        if grant != "client_credentials":
            raise OAuthError(400, "unsupported_grant_type", f"AADSTS70003: The grant type '{grant}' is not supported.")
        audience = audience_of(fields)
        try:
            principal = self._sign_in(fields, authorization, audience)
        except ArmError as error:
            raise OAuthError(error.status, "invalid_client", error.message) from error
        return {
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME_S,
            "ext_expires_in": TOKEN_LIFETIME_S,
            "resource": audience,
            "access_token": self._tokens.issue(principal, audience, TOKEN_LIFETIME_S),
        }

    def _sign_in(self, fields: Mapping[str, str], authorization: str, audience: str) -> Principal:
        client_id, secret = fields.get("client_id", ""), fields.get("client_secret", "")
        if authorization:
            client_id, secret = _basic(authorization)
        if not client_id:
            raise OAuthError(400, "invalid_request", "AADSTS900144: The request body must contain: 'client_id'.")
        if assertion := fields.get("client_assertion", ""):
            if fields.get("client_assertion_type") != JWT_BEARER:
                said = f"AADSTS50027: The client_assertion_type must be '{JWT_BEARER}'."
                raise OAuthError(400, "invalid_request", said)
            return self._identities.sign_in_with_assertion(client_id, assertion, audience)
        if not secret:
            said = "AADSTS7000218: The request body must contain: 'client_assertion' or 'client_secret'."
            raise OAuthError(401, "invalid_client", said)
        return self._identities.sign_in(client_id, secret)


def audience_of(fields: Mapping[str, str]) -> str:
    """The audience that a scope (`X/.default` → `X`, to the letter, double slashes too) or a `resource` asks for."""
    scopes = [one for one in fields.get("scope", "").split() if one.endswith("/.default")]
    audience = scopes[0].removesuffix("/.default") if scopes else fields.get("resource", "")
    if len(scopes) > 1 or not audience or len(audience) > LONGEST_AUDIENCE or not audience.isprintable():
        said = "AADSTS1002012: Ask for exactly one resource, as scope '<resource>/.default' or as 'resource'."
        raise OAuthError(400, "invalid_scope", said)
    return audience


def _route(path: str, handler: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    """`handler` raises OAuthError for what it refuses; a tenant that cannot be one is refused before."""

    async def answer(request: Request) -> Response:
        try:
            tenant = request.path_params.get("tenant")
            if tenant is not None and not _TENANT.fullmatch(tenant):
                said = f"AADSTS900023: Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a GUID."
                raise OAuthError(400, "invalid_request", said)
            return await handler(request)
        except OAuthError as error:
            return _error_response(error)

    return Route(path, traced(answer), methods=list(methods))


async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_BODY:
                raise OAuthError(413, "invalid_request", f"The request body is longer than {LONGEST_BODY} bytes.")
    except ClientDisconnect:  # nobody reads what is answered
        raise OAuthError(400, "invalid_request", "The connection ended before the request body did.") from None
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50)
    except ValueError as error:
        raise OAuthError(400, "invalid_request", "The request body is not a form (x-www-form-urlencoded).") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthError(400, "invalid_request", "A parameter is given more than once.")
    return fields


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise OAuthError(
            401, "invalid_client", "The Authorization header is not valid Basic authentication."
        ) from error
    if scheme.lower() != "basic" or not colon:
        raise OAuthError(401, "invalid_client", "The Authorization header is not valid Basic authentication.")
    return unquote_plus(user), unquote_plus(password)


def _code(error: OAuthError) -> str:
    """Entra's number for it, or ''."""
    code = error.description.partition(":")[0].removeprefix("AADSTS")
    return code if code.isdigit() else ""


def _error_response(error: OAuthError) -> JSONResponse:
    code = _code(error)
    body = {
        "error": error.error,
        "error_description": error.description.encode("utf-8", "replace").decode(),  # it may quote what is no UTF-8
        "error_codes": [int(code)] if code else [],
    }
    headers = NOT_STORED | ({"WWW-Authenticate": 'Basic realm="smalt"'} if error.status == 401 else {})
    return JSONResponse(body, error.status, headers=headers)
