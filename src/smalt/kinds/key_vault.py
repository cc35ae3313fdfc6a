"""Key vaults, as far as clients name them: a workspace has the id of one. None are stored yet."""

from __future__ import annotations

from smalt.arm.kind import Kind

KIND = Kind(path="vaults", title="key vault", provider="Microsoft.KeyVault")
