"""The grammar of what users write where files are meant: which store, job, account or web page a URI names.

No look-ups here. Forms: `azureml://datastores/D/paths/P`, short and long; `azureml://jobs/J/outputs/O[/paths/P]`, short
and long; `runs:/J/P`; what MLflow's clients call a run's `artifact_uri`, and what is below it; `wasb[s]://C@HOST/P` and
`abfs[s]://C@HOST/P`, or `wasbs://ACCOUNT.blob.SUFFIX/C/P` as Azure's own examples have it; http and https URLs. An
account of this platform has two spellings in those with a host: `ACCOUNT.blob.SUFFIX`, and
`OUR_HOST:PORT/ACCOUNT.blob.SUFFIX`, as clients build it from a datastore's `accountName`; `dfs` may stand for `blob` in
both. The address may be another server's, or an older one of this: the account tells, behind any address with our
SUFFIX. Azure's own stands for it behind our address alone, or in a code's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from smalt.settings import AZURE_SUFFIX, STORAGE_SUFFIX

_WORKSPACE = r"azureml://(?:subscriptions/([^/]+)/resourcegroups/([^/]+)(?:/providers/[^/]+)?/workspaces/([^/]+)/)?"
_DATASTORE = re.compile(_WORKSPACE + r"datastores/([^/]+)(?:/(?:paths(?:/(.*))?)?)?", re.IGNORECASE | re.DOTALL)
_JOB = re.compile(_WORKSPACE + r"jobs/([^/]+)/outputs/([^/]+)(?:/paths)?(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_RUN = re.compile(r"runs:/{1,3}([^/]+)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_ARTIFACTS = re.compile(
    r"(azureml|https)://([^/]+)/mlflow/v[12]\.0/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/[^/]+"
    r"/workspaces/([^/]+)/(?:experiments/[^/]+/runs/([^/]+)/artifacts"
    r"|api/2\.0/mlflow-artifacts/artifacts/experimentrun/dcid\.([^/]+))(?:/(.*))?",
    re.IGNORECASE | re.DOTALL,
)
_STORE = re.compile(r"(wasb|abfs)s?://([^@/]*)@([^/]+)/?(.*)", re.IGNORECASE | re.DOTALL)
_STORE_AS_URL = re.compile(
    r"(?:wasb|abfs)s?://([^@/.]+\.(?:blob|dfs)\.[^@/]+)/([^/]*)/?(.*)", re.IGNORECASE | re.DOTALL
)
_ACCOUNT = re.compile(r"([^/.]+)\.(?:blob|dfs)\." + re.escape(STORAGE_SUFFIX), re.IGNORECASE)
_ACCOUNT_HERE = re.compile(
    rf"([^/.]+)\.(?:blob|dfs)\.(?:{re.escape(STORAGE_SUFFIX)}|{re.escape(AZURE_SUFFIX)})", re.IGNORECASE
)
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*(?=:)")
_READABLE = "azureml://datastores/…, azureml://jobs/…, https://…, abfss://…, wasbs://… or an asset"
_ADVICE = {
    "file": "a file of one machine is not there for others; let the client upload it, or put it into a datastore",
    "azureml": "write azureml://datastores/NAME/paths/PATH or azureml://jobs/NAME/outputs/OUTPUT",
    "wasbs": "write wasbs://CONTAINER@ACCOUNT.blob.SUFFIX/PATH",
    "abfss": "write abfss://CONTAINER@ACCOUNT.dfs.SUFFIX/PATH",
}


class NotAnAddress(ValueError):
    """The text leads nowhere that can be read from here. Its message says why, and what to write."""


@dataclass(frozen=True)
class InDatastore:
    """`workspace`: (subscription, group, name) where the URI names one, else empty."""

    store: str
    path: str
    workspace: tuple[str, ...] = ()


@dataclass(frozen=True)
class OfJob:
    """What a job or run left: `path` below its output `output`."""

    job: str
    output: str
    path: str
    workspace: tuple[str, ...] = ()


@dataclass(frozen=True)
class InAccount:
    """A blob or folder in a storage account of this platform."""

    account: str
    container: str
    path: str


@dataclass(frozen=True)
class Elsewhere:
    """What is fetched by plain HTTP. `listed`: the storage that the user named would list it, plain HTTP cannot."""

    url: str
    listed: bool = False


Address = InDatastore | OfJob | InAccount | Elsewhere


@dataclass(frozen=True)
class _Ours:
    address: str
    known: Callable[[str], bool]
    is_code: bool

    def account(self, host: str, name: str) -> str | None:
        """The account that `name` is, as it stands behind `host`; None: it is none of ours."""
        is_here = self.is_(host)
        found = (_ACCOUNT_HERE if is_here or self.is_code else _ACCOUNT).fullmatch(name)
        return found[1] if found and (is_here or self.known(found[1].lower())) else None

    def is_(self, host: str) -> bool:
        return host.lower() == self.address.lower()


def parse(
    uri: str, address: str, known: Callable[[str], bool] = lambda account: False, is_code: bool = False
) -> Address:
    """`address`: this server's HOST:PORT; `known` accounts are ours behind any other, too. Raises NotAnAddress.

    `is_code`: as codes are shown (`code.py`), with Azure's suffix, by whatever server of the platform.
    """
    ours = _Ours(address, known, is_code)
    if found := _DATASTORE.fullmatch(uri):
        *workspace, store, path = found.groups()
        # `paths//x` is `x`: as if it were joined
        return InDatastore(store, (path or "").lstrip("/"), _named(workspace))
    if found := _JOB.fullmatch(uri):
        *workspace, job, output, path = found.groups()
        return OfJob(job, output, path or "", _named(workspace))
    if found := _RUN.fullmatch(uri):
        return OfJob(found[1], "artifacts", found[2] or "")
    if (found := _ARTIFACTS.fullmatch(uri)) and (found[1].lower() == "azureml" or ours.is_(found[2])):
        return OfJob(found[6] or found[7], "artifacts", found[8] or "", found.group(3, 4, 5))
    if found := _STORE.fullmatch(uri):
        return _in_store(found[2], found[3], found[4], ours)
    if found := _STORE_AS_URL.fullmatch(uri):
        return _in_store(found[2], found[1], found[3], ours)
    return _on_web(uri, ours)


def _named(workspace: list[str | None]) -> tuple[str, ...]:
    return tuple(part for part in workspace if part is not None)


def _in_store(container: str, host: str, path: str, ours: _Ours) -> Address:
    if account := _ACCOUNT.fullmatch(host.partition(":")[0]):
        return _in_account(account[1], container, path)
    first, _, below = path.partition("/")
    if (here := ours.account(host, first)) is not None:
        return _in_account(here, container, below)
    if ours.is_(host):
        raise NotAnAddress(f"'{host}/{first}' names no storage account of this platform")
    name, _, suffix = host.partition(".")
    if not container or not suffix:
        raise NotAnAddress(f"'{container}@{host}' names no container of a storage account")
    if suffix.lower().startswith("dfs."):
        suffix = f"blob.{suffix[4:]}"
    return Elsewhere(f"https://{name}.{suffix}/{container}/{path}", listed=True)


def _on_web(uri: str, ours: _Ours) -> Address:
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[0].lower() not in ("http", "https"):
        name = scheme[0].lower() if scheme else ""
        advice = _ADVICE.get(name) or _ADVICE.get(f"{name}s") or f"use {_READABLE}"
        raise NotAnAddress(f"'{uri[:200]}' is not a place that this platform can read: {advice}")
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname or "", parts.port  # a port that is none raises
    except ValueError as error:
        raise NotAnAddress(f"'{uri[:200]}' is not a URL: {error}") from None
    if not host:
        raise NotAnAddress(f"'{uri[:200]}' is not a URL: it has no host")
    first, _, below = parts.path[1:].partition("/")
    account = ours.account(parts.netloc.rpartition("@")[2], first)
    if account is None and (found := _ACCOUNT.fullmatch(host)):
        account, below = found[1], parts.path[1:]
    if account is None:
        return Elsewhere(uri)
    container, _, path = below.partition("/")
    return _in_account(account, unquote(container), unquote(path))


def _in_account(account: str, container: str, path: str) -> InAccount:
    if not container:
        raise NotAnAddress(f"a container, and a path in it, must follow the storage account '{account}'")
    return InAccount(account.lower(), container, path)
