"""This platform as one of Azure's clouds: the document that clients learn all other addresses from.

Clients expect it in two shapes. Most want a list of clouds. The Azure CLI's `cloud register` and Terraform ask for one
api-version, and want one cloud as an object, which must not look like Azure Stack. No secret is in any of them.
"""

from __future__ import annotations

import json
from typing import Any

from smalt.settings import CLOUD, PORTAL, STORAGE_SUFFIX, TENANT, Settings

ONE_CLOUD_VERSION = "2022-09-01"
PUBLIC_CLOUD = "AzureCloud"


def metadata(settings: Settings) -> str:
    """For tasks, as JSON: a list of one cloud."""
    return json.dumps([cloud_metadata(settings)])


def public_metadata(settings: Settings, api_version: str) -> str:
    """What `settings.metadata_url` answers, as JSON: a list of clouds, or one as an object where `api_version` says so.

    The list holds this cloud again under the name of Azure's public one: CI steps insist on `az cloud set -n
    AzureCloud`. It comes last: who takes the first cloud gets the one under its own name.
    """
    one = cloud_metadata(settings)
    if api_version == ONE_CLOUD_VERSION:
        return json.dumps(
            {**one, "authentication": {**one["authentication"], "identityProvider": "AAD", "tenant": "common"}}
        )
    return json.dumps([one, {**one, "name": PUBLIC_CLOUD}])


def cloud_metadata(settings: Settings) -> dict[str, Any]:
    """This platform as a cloud, as https://management.azure.com/metadata/endpoints describes the public one."""
    url = settings.url
    return {
        "name": CLOUD,
        "portal": PORTAL,
        "resourceManager": url,
        "authentication": {
            "loginEndpoint": f"{login_url(settings)}/adfs",
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


def login_url(settings: Settings) -> str:
    """Where clients log in, below it `/adfs`. azureml-mlflow hands azure-identity host and port without a scheme.

    The latter takes `localhost:…` for a scheme: so a number.
    """
    return settings.url.replace("//localhost:", "//127.0.0.1:", 1)
