"""What the command line may do as the owner of the root: the owner's secrets, tokens and login links."""

from __future__ import annotations

from smalt.auth.identity_headers import IdentityHeaders
from smalt.auth.login_links import LoginLinks
from smalt.auth.owner import owner_principal
from smalt.auth.tokens import TokenService
from smalt.settings import Settings

TOKEN_LIFETIME_S = 600.0


def ensure_secrets(settings: Settings) -> TokenService:
    """Make the secrets of a new root, before two processes want to. The tokens' keys, read."""
    IdentityHeaders(settings).owner()
    return TokenService(settings)


def owner_token(settings: Settings) -> str:
    """A token for the platform's own API, good for ten minutes."""
    return TokenService(settings).issue(owner_principal(settings), settings.url, TOKEN_LIFETIME_S)


def login_url(settings: Settings) -> str:
    """A link that opens the Studio and logs the owner in, once."""
    return LoginLinks(settings).mint("/studio")
