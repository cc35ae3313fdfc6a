"""Customer-managed keys: nothing here would be encrypted with one, so nobody shall believe that it is.

https://learn.microsoft.com/azure/machine-learning/concept-customer-managed-keys
"""

from __future__ import annotations

from typing import Any, cast

from smalt.arm.errors import ArmError
from smalt.arm.kind import Document
from smalt.store.document import part
from smalt.store.resources import Row


def check_encryption(properties: Document, old: Row | None, field: str) -> None:
    """Raises ArmError(400) where a key is asked for. What an older version took with one is let be."""
    given = properties.get("encryption")
    if not _asks(given) or (old is not None and old.properties.get("encryption") == given):
        return
    raise ArmError(
        400,
        "CustomerManagedKeyNotSupported",
        f"{field}: this platform encrypts nothing with a key of a vault. Leave the customer-managed key out, and"
        " encrypt the disk below the platform's root, or the object store, with a key of yours. Secrets are sealed at"
        " rest in any case; `smalt keys rotate` replaces their key.",
        field,
    )


def shown_encryption(kept: Document) -> Document:
    """What an older version took shows that it has no effect."""
    given = kept.get("encryption")
    return {"encryption": {**part(kept, "encryption"), "status": "Disabled"}} if _asks(given) else {}


def _asks(given: Any) -> bool:
    """As Azure reads it: with a key it is on, unless it says that it is off. Storage accounts name the key's source."""
    if not isinstance(given, dict):
        return False
    encryption = {str(key).lower(): one for key, one in cast("Document", given).items()}
    status = str(encryption.get("status") or "").lower()
    vault = str(encryption.get("keysource") or "").lower() == "microsoft.keyvault"
    return status == "enabled" or (status != "disabled" and (vault or bool(encryption.get("keyvaultproperties"))))
