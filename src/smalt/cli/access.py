"""What the command line may do as the owner of the root: the owner's secrets, tokens and login links."""

from __future__ import annotations

from smalt.arm.ids import workspace_id
from smalt.auth.identity_headers import IdentityHeaders
from smalt.auth.login_links import LoginLinks
from smalt.auth.owner import owner_principal
from smalt.auth.tokens import TokenService
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Settings
from smalt.tracking.address import tracking_uri

TOKEN_LIFETIME_S = 600.0


def ensure_secrets(settings: Settings) -> TokenService:
    """Make the secrets of a new root, before two processes want to. The tokens' keys, read."""
    IdentityHeaders(settings).owner()
    return TokenService(settings)


def owner_token(settings: Settings) -> str:
    """A token for the platform's own API, good for ten minutes."""
    return TokenService(settings).issue(owner_principal(settings), settings.url, TOKEN_LIFETIME_S)


def login_url(settings: Settings) -> str:
    """A link that opens MLflow's pages of the default workspace and logs the owner in, once."""
    page = tracking_uri(settings, workspace_id(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)).removeprefix(settings.url)
    return LoginLinks(settings).mint(page + "/")
