"""This platform as one of Azure's clouds: the document that clients learn all other addresses from. No secret is in it."""

from __future__ import annotations

import json
from typing import Any

from smalt.settings import CLOUD, PORTAL, STORAGE_SUFFIX, TENANT, Settings


def metadata(settings: Settings) -> str:
    """What `settings.metadata_url` answers, as JSON: a list of one cloud."""
    return json.dumps([cloud_metadata(settings)])


def cloud_metadata(settings: Settings) -> dict[str, Any]:
    """This platform as a cloud, as https://management.azure.com/metadata/endpoints describes the public one."""
    url = settings.url
    return {
        "name": CLOUD,
        "portal": PORTAL,
        "resourceManager": url,
        "authentication": {
            "loginEndpoint": f"{_login_url(settings)}/adfs",
            "audiences": [url, f"{url}/"],
            "tenant": TENANT,
            "identityProvider": "ADFS",
        },
        "suffixes": {
            "storage": STORAGE_SUFFIX,
            "keyVaultDns": "vault.smalt",
            "acrLoginServer": "registry.smalt",
            "sqlServerHostname": "database.smalt",
        },
        "graph": f"{url}/graph/",
        "graphAudience": f"{url}/graph/",
        "microsoftGraphResourceId": f"{url}/graph/",
        "gallery": f"{url}/gallery/",
        "media": f"{url}/media/",
        "batch": f"{url}/batch/",
        "vmImageAliasDoc": f"{url}/images/aliases.json",
    }


def _login_url(settings: Settings) -> str:
    """azureml-mlflow hands azure-identity host and port without a scheme, which takes `localhost:…` for a scheme: so a number."""
    return settings.url.replace("//localhost:", "//127.0.0.1:", 1)
