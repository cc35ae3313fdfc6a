"""A login by environment variables alone, as `smalt env` sets them; azure-identity takes a while to import."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from .connection import Connection, opener
from .errors import MLError

_TIMEOUT_S = 30.0
_NO_LOGIN = (
    "There is no login: set IDENTITY_ENDPOINT and IDENTITY_HEADER, or AZURE_TENANT_ID, AZURE_CLIENT_ID and "
    'AZURE_CLIENT_SECRET. `eval "$(smalt env)"` sets the first two.'
)


class AccessToken(NamedTuple):
    """As azure-core has it; `expires_on` in seconds since the epoch."""

    token: str
    expires_on: int


class EnvironmentLogin:
    """A service principal with a secret, or else the managed identity that the variables describe."""

    def __init__(self, variables: Mapping[str, str], authority: str = "") -> None:
        self._variables = variables
        self._authority = authority or variables.get("AZURE_AUTHORITY_HOST", "")

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """The SDK's way to ask. Raises MLError where the login is refused."""
        answer = self._asked(scopes[0].removesuffix("/.default"))
        return AccessToken(answer["access_token"], int(time.time()) + int(answer["expires_in"]))

    def token(self, resource: str) -> str:
        return str(self._asked(resource)["access_token"])

    def _asked(self, resource: str) -> Any:
        told = self._variables
        if all(told.get(name) for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")):
            form = {
                "grant_type": "client_credentials",
                "client_id": told["AZURE_CLIENT_ID"],
                "client_secret": told["AZURE_CLIENT_SECRET"],
                "scope": f"{resource}/.default",
            }
            url = f"{self._authority.rstrip('/')}/{told['AZURE_TENANT_ID']}/oauth2/v2.0/token"
            return _answer(urllib.request.Request(url, urlencode(form).encode()))
        if told.get("IDENTITY_ENDPOINT") and told.get("IDENTITY_HEADER"):
            query = {"api-version": "2019-08-01", "resource": resource}
            if told.get("AZURE_CLIENT_ID"):
                query["client_id"] = told["AZURE_CLIENT_ID"]
            headers = {"X-IDENTITY-HEADER": told["IDENTITY_HEADER"]}
            return _answer(urllib.request.Request(f"{told['IDENTITY_ENDPOINT']}?{urlencode(query)}", headers=headers))
        raise MLError(_NO_LOGIN)


def connected(variables: Mapping[str, str], url: str = "") -> Connection:
    """To the server at `url`, or to the one that ARM_CLOUD_METADATA_URL describes. Raises MLError without one."""
    authority = ""
    if not url:
        place = variables.get("ARM_CLOUD_METADATA_URL")
        if not place:
            raise MLError('There is no server: set ARM_CLOUD_METADATA_URL, as `eval "$(smalt env)"` does.')
        url, authority = _cloud(place, variables.get("AZURE_CLOUD_NAME"))
    login = EnvironmentLogin(variables, authority)
    subscription = variables.get("AZURE_SUBSCRIPTION_ID")
    if not subscription:
        raise MLError("There is no subscription: set AZURE_SUBSCRIPTION_ID, or give --subscription.")
    return Connection(url, subscription, login.token, lambda: login)


def _cloud(place: str, name: str | None) -> tuple[str, str]:
    """The resource manager's URL and where one logs in, of the cloud with that name, or the first."""
    found = _answer(urllib.request.Request(place))
    clouds = found if isinstance(found, list) else [found]
    chosen = next((one for one in clouds if one.get("name") == name), clouds[0])
    return str(chosen["resourceManager"]).rstrip("/"), str(chosen["authentication"]["loginEndpoint"])


def _answer(request: urllib.request.Request) -> Any:
    try:
        with opener().open(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        body = error.read().decode("utf-8", "replace")
        raise MLError(f"The login was refused with status {error.code}: {_reason(body)}", error.code) from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise MLError(f"{request.full_url.partition('?')[0]} cannot be reached: {error}") from None


def _reason(body: str) -> str:
    try:
        told = json.loads(body)
        return str(told.get("error_description") or told.get("message") or body)
    except ValueError:
        return body[:300]
