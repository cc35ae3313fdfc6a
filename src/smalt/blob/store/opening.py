"""The object store that a platform was told: a folder of this machine, or a bucket elsewhere.

Where a bucket answers and who we are there comes from the environment alone, by the names that the stores' own tools
have: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AZURE_STORAGE_ACCOUNT, GOOGLE_APPLICATION_CREDENTIALS, … (docs/settings.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store
from obstore.store import ObjectStore as RemoteStore

from smalt.arm.outage import StoreAway
from smalt.blob.store.remote import ObstoreStore
from smalt.blob.store.remote_calls import words_for

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

RETRIES: RetryConfig = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
HASTY: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=3)}  # somebody waits before a screen
_CONNECT_S, _READ_S, _REQUEST_S, _HASTY_S = 5, 30, 120, 3
_SCHEMES = ("s3", "az", "gs")


def open_store(url: str, hasty: bool = False) -> ObstoreStore:
    """For `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `gs://BUCKET/PREFIX`. Asks the store nothing.

    Raises StoreAway where the variables of the environment are not good.
    """
    return ObstoreStore(remote(url, hasty))


def remote(url: str, hasty: bool = False) -> RemoteStore:
    """The same as the library has it."""
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "prefix": parts.path.strip("/") or None,
        "retry_config": HASTY if hasty else RETRIES,
        "client_options": _client(os.environ, _endpoint(parts.scheme, os.environ), hasty),
    }
    try:
        if parts.scheme == "s3":
            return S3Store(parts.netloc, config={"copy_if_not_exists": "multipart"}, **options)
        if parts.scheme == "az":
            return AzureStore(parts.netloc, config=_azure(os.environ), **options)
        return GCSStore(parts.netloc, **options)
    except (BaseError, ValueError, OSError) as error:
        raise StoreAway(_not_good(parts.scheme, error)) from None


def _client(variables: Mapping[str, str], endpoint: str, hasty: bool) -> ClientConfig:
    seconds = _HASTY_S if hasty else _REQUEST_S
    options: ClientConfig = {
        "connect_timeout": f"{min(_CONNECT_S, seconds)}s",
        "timeout": f"{seconds}s",
        "read_timeout": "30s",
    }
    if endpoint.startswith("http://"):
        options["allow_http"] = True
    if bundle := variables.get("AWS_CA_BUNDLE"):
        try:
            with open(bundle, "rb") as file:  # noqa: PTH123
                options["root_certificate"] = file.read()
        except OSError as error:
            raise StoreAway(f"AWS_CA_BUNDLE cannot be read ({error.strerror})") from None
    return options


def _endpoint(scheme: str, variables: Mapping[str, str]) -> str:
    names = {
        "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    }
    found = next((variables[one] for one in names.get(scheme, ()) if variables.get(one)), "")
    return found or (_connection(variables).get("blobendpoint", "") if scheme == "az" else "")


def _azure(variables: Mapping[str, str]) -> Any:
    """What `az storage` and the SDK read and the library does not, by the library's names."""
    told = _connection(variables)
    wanted = {
        "account_name": variables.get("AZURE_STORAGE_ACCOUNT") or told.get("accountname"),
        "account_key": variables.get("AZURE_STORAGE_KEY") or told.get("accountkey"),
        "sas_key": told.get("sharedaccesssignature"),
        "endpoint": told.get("blobendpoint"),
    }
    return {name: value for name, value in wanted.items() if value}


def _connection(variables: Mapping[str, str]) -> dict[str, str]:
    """AZURE_STORAGE_CONNECTION_STRING by lowered names."""
    pairs = (one.partition("=") for one in variables.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if value}


def _not_good(scheme: str, error: Exception) -> str:
    """Names what is missing, and repeats no value."""
    said = str(error).lower()
    if "account" in said and scheme == "az":
        return "AZURE_STORAGE_ACCOUNT is not set"
    return f"the variables of the environment for {scheme}:// are not good: {words_for(error)}"
