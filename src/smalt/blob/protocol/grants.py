"""What a request may do with blobs, once its credentials are checked (`access.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smalt.arm.ports import Principal
from smalt.blob.errors import not_authorized, permission_mismatch


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request's credentials allow. `types`: s, c, o as in an account SAS; `sas` is set if it came from one."""

    permissions: str
    types: str
    whole_account: bool
    principal: Principal | None = None
    overrides: Mapping[str, str] | None = None  # rscc and so on: response headers of a service SAS

    def allows(self, any_of: str) -> bool:
        return any(letter in self.permissions for letter in any_of)

    def require(self, any_of: str) -> None:
        if not self.allows(any_of):
            raise permission_mismatch(any_of)

    def require_account(self, any_of: str) -> None:
        """A container's own properties are the account's business: a service SAS never reaches them."""
        if not self.whole_account:
            raise not_authorized("AuthorizationFailure", "signature: an account SAS is needed")
        self.require(any_of)
