"""What `smalt up` makes of a new root, and looks at again at each start, while the programs come up."""

from __future__ import annotations

from smalt.auth.certificates import ensure_certificates
from smalt.cli.access import ensure_secrets
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.settings import Settings


def make_files(settings: Settings) -> None:
    """Certificates, keys and what Envoy starts with. Idempotent."""
    ensure_certificates(settings)
    EnvoyGateway(settings, ensure_secrets(settings)).write_bootstrap()
