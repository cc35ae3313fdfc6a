"""Who may do what with a blob: SAS, shared key and token, checked for each request.

A signature is verified once and remembered with the key that made it; time, address, permissions and resource are
compared every time. Neither a signature nor a key ever reaches a message or a log.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal, Tokens
from smalt.blob.accounts.accounts import Accounts
from smalt.blob.accounts.sas import account_text, service_text, sign
from smalt.blob.dates import parse_date
from smalt.blob.errors import BlobError, authentication_failed, not_authorized, permission_mismatch
from smalt.blob.names import Target, signed_names
from smalt.blob.protocol.grants import Grant
from smalt.blob.protocol.message import Request
from smalt.blob.protocol.sharedkey import texts_to_sign
from smalt.settings import STORAGE_AUDIENCE, TENANT

ALL = "racwdxltmeopif"
_AUDIENCES = (STORAGE_AUDIENCE, STORAGE_AUDIENCE + "/")
_CLOCK_SKEW_S = 15 * 60.0
_REMEMBERED = 10_000
_SIGNED = (
    "sv",
    "ss",
    "srt",
    "sr",
    "sp",
    "st",
    "se",
    "sip",
    "spr",
    "si",
    "ses",
    "snapshot",
    "sig",
    *("rscc", "rscd", "rsce", "rscl", "rsct"),
)

Keys = tuple[bytes, bytes]
InThread = Callable[..., Awaitable[Any]]


Permits = Callable[[Principal, Target, str], bool]


@runtime_checkable
class Remembers(Protocol):
    """What a `Permits` may have besides: the answer that was found just now, or None. Never waits."""

    def recent(self, principal: Principal, target: Target, method: str) -> bool | None: ...


_EVERYTHING = Grant(ALL, "sco", True)


class Access:
    """Checks credentials. `tokens` None: no bearer tokens here. `permits` decides on roles, where there are any.

    What is remembered is used on the event loop; what has to be read is read in a thread (`in_thread`).
    """

    def __init__(
        self,
        accounts: Accounts,
        tokens: Tokens | None,
        permits: Permits | None = None,
        clock: Callable[[], float] = time.time,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        self._in_thread = in_thread
        self._accounts = accounts
        self._tokens = tokens
        self._permits = permits
        self._recent = permits.recent if isinstance(permits, Remembers) else lambda *_: None
        self._clock = clock
        self._verified: OrderedDict[tuple[str | None, ...], bytes] = OrderedDict()

    async def grant(self, request: Request) -> Grant:
        """Raises BlobError: 401 without credentials, 403 with wrong ones, as Azure does."""
        authorization = request.headers.get("authorization", "")
        if authorization:
            scheme, _, rest = authorization.partition(" ")
            if scheme.lower() == "bearer":
                return await self.bearer(request.target, request, authorization)
            if scheme in ("SharedKey", "SharedKeyLite"):
                return self._shared_key(request, scheme, rest.strip(), await self._keys(request.target.account))
            raise BlobError(
                400, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format."
            )
        if "sig" not in request.query:
            raise _challenge(request)
        return await self.sas(request.target, request.query, request.scheme, request.client)

    async def sas(self, target: Target, query: Mapping[str, str], scheme: str, client: str) -> Grant:
        """The grant of a SAS for `target`; also for the source of a copy, which brings its own."""
        for name in ("skoid", "sdd"):
            if name in query:
                raise authentication_failed(
                    f"This kind of signature ({name}) is not supported: use an account or service SAS."
                )
        if "sv" not in query or not ("ss" in query or query.get("sr") in ("b", "c", "bs")):
            raise authentication_failed("sv is mandatory, and either ss with srt or sr (b, bs or c).")
        self._verify(target, query, await self._keys(target.account))
        self._check_time(query)
        self._check_origin(query, scheme, client)
        if "ss" in query:
            if "b" not in query["ss"]:
                raise not_authorized("AuthorizationServiceMismatch", "service")
            return Grant(query.get("sp", ""), query.get("srt", ""), True)
        if query.get("si"):
            raise authentication_failed("Stored access policies are not supported: put sp and se into the signature.")
        overrides = {name: query[name] for name in ("rscc", "rscd", "rsce", "rscl", "rsct") if name in query}
        return Grant(query.get("sp", ""), "co" if query["sr"] == "c" else "o", False, overrides=overrides or None)

    async def bearer(self, target: Target, request: Request, authorization: str) -> Grant:
        """The grant of a token for `target`; also for the source of a copy."""
        if self._tokens is None:
            raise authentication_failed("Bearer tokens are not accepted here.")
        try:
            principal = self._tokens.verify(authorization.partition(" ")[2].strip(), _AUDIENCES)
        except ArmError as error:
            raise BlobError(401, "InvalidAuthenticationInfo", error.message, _challenge(request).headers) from None
        if target is request.target:
            request.known = principal.name or principal.client_id
        if self._permits is not None:
            allowed = self._recent(principal, target, request.method)
            if allowed is None:
                allowed = await self._in_thread(self._permits, principal, target, request.method)
            if not allowed:
                raise permission_mismatch(request.method)
        if await self._keys(target.account) is None:
            raise BlobError(404, "ResourceNotFound", "The specified account does not exist.")
        return Grant(ALL, "sco", True, principal=principal)

    async def _keys(self, account: str) -> Keys | None:
        return self._accounts.recent_keys(account) or await self._in_thread(self._accounts.keys, account)

    def _verify(self, target: Target, query: Mapping[str, str], keys: Keys | None) -> None:
        if keys is None:
            raise authentication_failed("The storage account does not exist.")
        where = (target.account,)
        if "ss" not in query:
            where = (*where, target.container, target.blob if query.get("sr") != "c" else "")
        identity = (*where, "\n", *map(query.get, _SIGNED))
        known = self._verified.get(identity)
        if known is not None and known in keys:
            return
        for name in signed_names(target.account):
            text = (
                account_text(name, query) if "ss" in query else service_text(name, target.container, target.blob, query)
            )
            for key in keys:
                if _same(sign(key, text), query["sig"]):
                    self._verified[identity] = key
                    if len(self._verified) > _REMEMBERED:
                        self._verified.popitem(last=False)
                    return
        raise authentication_failed("Signature did not match.")

    def _check_time(self, query: Mapping[str, str]) -> None:
        now = self._clock()
        start, expiry = query.get("st", ""), query.get("se", "")
        if not expiry:
            raise authentication_failed("se is mandatory.")
        if now >= _moment(expiry, "se") or (start and now < _moment(start, "st")):
            current = datetime.fromtimestamp(now, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
            raise authentication_failed(
                "Signature not valid in the specified time frame:"
                f" Start [{start}] - Expiry [{expiry}] - Current [{current}]"
            )

    def _check_origin(self, query: Mapping[str, str], scheme: str, client: str) -> None:
        if query.get("spr") == "https" and scheme != "https":
            raise not_authorized("AuthorizationProtocolMismatch", "protocol")
        if (allowed := query.get("sip")) and not _within(client, allowed):
            raise not_authorized("AuthorizationSourceIPMismatch", "source IP")

    def _shared_key(self, request: Request, scheme: str, credentials: str, keys: Keys | None) -> Grant:
        if scheme == "SharedKeyLite":
            raise authentication_failed("SharedKeyLite is not supported: use SharedKey.")
        name, _, signature = credentials.partition(":")
        if name not in signed_names(request.target.account):
            raise authentication_failed("The account that signed is not the one that is addressed.")
        if keys is None:
            raise authentication_failed("The storage account does not exist.")
        date = request.header("x-ms-date") or request.header("date")
        if not date:
            raise authentication_failed("x-ms-date is mandatory.")
        if abs(self._clock() - parse_date("x-ms-date", date)) > _CLOCK_SKEW_S:
            raise authentication_failed("The date of the request is more than 15 minutes away from the server's.")
        for text in texts_to_sign(request, name):
            for key in keys:
                if _same(sign(key, text), signature):
                    return _EVERYTHING
        raise authentication_failed(
            "The MAC signature found in the HTTP request is not the same as any computed signature."
        )


def _challenge(request: Request) -> BlobError:
    """What makes a client that has a token credential fetch a token."""
    host = request.header("host")
    challenge = (
        f"Bearer authorization_uri={request.scheme}://{host}/{TENANT}/oauth2/authorize resource_id={STORAGE_AUDIENCE}"
    )
    message = (
        "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."
    )
    return BlobError(401, "NoAuthenticationInformation", message, headers={"www-authenticate": challenge})


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


def _moment(text: str, name: str) -> float:
    """Azure takes dates with and without a time, always UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise authentication_failed(f"{name} is not a date of the form 2026-11-22T01:02:03Z.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _within(client: str, allowed: str) -> bool:
    first, _, last = allowed.partition("-")
    try:
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last or first)
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return low.version == address.version == high.version and int(low) <= int(address) <= int(high)
