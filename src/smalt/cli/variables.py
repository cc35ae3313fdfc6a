"""The environment variables that turn unmodified Azure clients to a platform, for `smalt env` and the quickstart."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from smalt.cli.root import CliError, no_platform
from smalt.settings import CLOUD, RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Settings


def client_variables(settings: Settings, identity_secret: str) -> dict[str, str]:
    """Names and values as azure-ai-ml, azure-identity, azureml-fsspec, mlflow and azure-cli read them."""
    bundle = str(settings.tls / "bundle.pem")
    return {
        "ARM_CLOUD_METADATA_URL": settings.metadata_url,
        "AZUREML_CURRENT_CLOUD": CLOUD,
        "AZURE_CLOUD_NAME": CLOUD,  # else the Azure CLI prefers AzureCloud, whose login it has built in
        "REQUESTS_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,
        "CURL_CA_BUNDLE": bundle,
        "IDENTITY_ENDPOINT": f"{settings.url}/msi/token",
        "IDENTITY_HEADER": identity_secret,
        "AZURE_AUTHORITY_HOST": f"{settings.url}/adfs",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{settings.url}/",
        "AZURE_EXTENSION_INDEX_URL": f"{settings.url}/extensions/index.json",  # else az looks for `ml` at Microsoft's
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZUREML_ARM_SUBSCRIPTION": SUBSCRIPTION,  # azureml-fsspec, of an azureml:// that does not say it
        "AZUREML_ARM_RESOURCEGROUP": RESOURCE_GROUP,
        "AZUREML_ARM_WORKSPACE_NAME": WORKSPACE,
    }


def identity_secret(settings: Settings) -> str:
    """The owner's IDENTITY_HEADER. Raises CliError where nothing was started yet.

    Read from the file that `smalt.auth.identity_headers` keeps, and not through it: `smalt env` stands in shell
    start-up files, and a second of imports there is a second for each new shell.
    """
    try:
        return (settings.secrets / "msi").read_text()
    except FileNotFoundError:
        raise no_platform(settings.root) from None
    except PermissionError:
        raise CliError(f"{settings.root} belongs to another user.") from None


def in_syntax_of(shell: str, variables: Mapping[str, str]) -> str:
    """`shell` is bash (also sh and zsh), fish or json."""
    if shell == "json":
        return json.dumps(variables, indent=2)
    if shell == "fish":
        return "\n".join(f"set -gx {name} {_fish_quoted(value)}" for name, value in variables.items())
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _fish_quoted(value: str) -> str:
    """Between fish's single quotes only the backslash and the quote are special."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
