"""Where a platform lives and how it is reached: read once, passed in everywhere.

`Settings` is what `smalt up` was told (and remembers in `<root>/config.json`); every path and URL derives from it. A
setting is one field here: what reads, checks, remembers and compares settings goes by the fields.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
RESOURCE_GROUP = "smalt"
WORKSPACE = "default"
REGION = "local"
CLOUD = "Smalt"
AZURE_SUFFIX = "core.windows.net"  # stands for ours behind our own HOST:PORT/, where clients insist on it
STORAGE_SUFFIX = "core.smalt"  # blobs are at https://HOST:PORT/{account}.blob.core.smalt/{container}/{blob}
ARTIFACT_CONTAINER = "azureml"  # the container of a workspace's account that holds what its jobs log
PLATFORM_ACCOUNT = "smalt-platform"  # what the platform itself writes as blobs; a name that no client can address
TENANT = "00000000-0000-0000-0000-00000000000a"
LOCAL_RAY = "local"  # as the address of a Ray cluster: the one whose head the platform keeps
PORTAL = "https://portal.azure.smalt/"  # the clients derive the ML audience from it
ML_AUDIENCE = "https://ml.azure.smalt"
STORAGE_AUDIENCE = "https://storage.azure.com"


class SettingsError(Exception):
    """A setting, or the file that holds them, cannot be used. One line: what, where, what to do."""


def _setting(default: Any, good: Callable[[Any], object], what: str) -> Any:
    """A field beside `root`. Values have the type of `default` and are `good`; `what` says so, after "must be"."""
    return field(default=default, metadata={"good": good, "what": what})


@dataclass(frozen=True)
class Settings:
    """One platform. `root` holds everything; `database_url` overrides the SQLite file in it."""

    root: Path
    host: str = _setting(
        "localhost",
        re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?").fullmatch,
        "a host name that clients resolve, such as localhost",
    )
    port: int = _setting(7443, lambda port: 1 <= port <= 65535, "a whole number from 1 to 65535")
    database_url: str = _setting(
        "",
        re.compile(r"|(sqlite|postgresql)(\+\w+)?://.*").fullmatch,
        "empty, or a URL that begins with postgresql:// or sqlite://",
    )

    store_url: str = _setting(
        "",
        re.compile(r"|(s3|az|gs)://[^/?#@:\s]+(/[^/?#@:\s]+)*/?|file:///[^?#]+|/.+").fullmatch,
        "empty, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or a folder (file:///FOLDER)",
    )

    isolation: str = _setting(
        "auto",
        re.compile(r"auto|network|files|off").fullmatch,
        "auto, network, files or off",
    )
    show: str = _setting(
        "",
        re.compile(r"|/[^:\0]*(:/[^:\0]*)*").fullmatch,
        "absolute paths with ':' between them, none of which has a ':'",
    )

    models: str = _setting("any", re.compile(r"any|safe").fullmatch, "any or safe")

    node_lost_s: int = _setting(
        300, lambda seconds: 30 <= seconds <= 86_400, "a whole number of seconds from 30 to 86400"
    )
    mlflow_idle_s: int = _setting(
        900, lambda seconds: 0 <= seconds <= 31_536_000, "a whole number of seconds from 0 to 31536000"
    )
    cache_mib: int = _setting(20_480, lambda size: 1 <= size <= 1 << 30, "a whole number of MiB from 1 to 1073741824")

    scale_in_after_s: int = _setting(
        60, lambda seconds: 1 <= seconds <= 86_400, "a whole number of seconds from 1 to 86400"
    )

    webhook_hosts: str = _setting(
        "",
        re.compile(r"|(\*\.)?[A-Za-z0-9.\-\[\]:]+(,(\*\.)?[A-Za-z0-9.\-\[\]:]+)*").fullmatch,
        "empty, or host names (HOST, HOST:PORT, *.HOST) with ',' between them",
    )

    otlp: str = _setting(
        "",
        re.compile(r"|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^?#\s]*)?").fullmatch,
        "empty, or the URL of an OTLP receiver such as http://localhost:4318",
    )
    openlineage: str = _setting(
        "",
        re.compile(r"|https?://[^/?#@\s]+(/[^?#\s]*)?|/[^\0]+").fullmatch,
        "empty, the absolute path of a file, or a URL that begins with http:// or https://, without a user",
    )

    ray: str = _setting(
        "",
        re.compile(rf"|{LOCAL_RAY}|https?://[^\s/?#@]+/?").fullmatch,
        "empty, 'local', or the address of Ray's dashboard, http://HOST:8265",
    )
    ray_token_file: str = _setting("", re.compile(r"|/[^\0]+").fullmatch, "empty, or the absolute path of a file")

    @property
    def url(self) -> str:
        """https://HOST:PORT, without a slash at the end: also ARM's address and its audience."""
        return f"https://{self.host}:{self.port}"

    @property
    def services_host(self) -> str:
        """The name below which each service of a job has one of its own; '' where there can be none."""
        return services_host(self.host)

    @property
    def shown(self) -> list[str]:
        """What of this machine jobs and replicas see behind their walls, beside what every task does."""
        return [os.path.normpath(one) for one in self.show.split(":") if one]

    @property
    def metadata_url(self) -> str:
        """Where the platform describes itself as a cloud."""
        return f"{self.url}/metadata/endpoints"

    @property
    def postgresql(self) -> bool:
        """Whether all rows are there, MLflow's too."""
        return self.database_url.startswith("postgresql")

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.root / 'smalt.db'}"

    @property
    def shown_database(self) -> str:
        """`database` for people: without a password, and without what follows `?`, which may hold one."""
        without = re.sub(r"(//[^:@/]*):.*@", r"\1@", self.database)
        return re.sub(r"^(\w+)\+\w+", r"\1", without.partition("?")[0])

    @property
    def remote_store(self) -> bool:
        """Whether blobs are objects elsewhere and not files of this machine."""
        return self.store_url.startswith(("s3://", "az://", "gs://"))

    @property
    def shown_store(self) -> str:
        """Where blobs are, for people."""
        return self.store_url.rstrip("/") if self.remote_store else str(self.blobs)

    @property
    def blobs(self) -> Path:
        """`blobs/{account}/{container}/{blob}`: a blob is a file. With a remote store only what is unfinished."""
        if self.store_url and not self.remote_store:
            return Path(unquote(self.store_url.removeprefix("file://")) if "://" in self.store_url else self.store_url)
        return self.root / "blobs"

    @property
    def envs(self) -> Path:
        """Built environments, the wheel cache and build logs; on one file system, for hardlinks."""
        return self.root / "envs"

    @property
    def tasks(self) -> Path:
        return self.root / "tasks"

    @property
    def cache(self) -> Path:
        """Blobs that tasks read, where the store has no files here: `cache_mib` of them."""
        return self.root / "cache"

    @property
    def homes(self) -> Path:
        """A HOME for each workspace's tasks behind walls: pip's settings and caches."""
        return self.root / "homes"

    def home(self, workspace: str) -> Path:
        """Of one workspace, by its ARM id in lower case."""
        return self.homes / hashlib.sha256(workspace.encode()).hexdigest()[:16]

    @property
    def tls(self) -> Path:
        """ca.pem, ca.key, server.pem, server.key, bundle.pem (public CAs and ours)."""
        return self.root / "tls"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def gateway(self) -> Path:
        """Envoy's bootstrap and dynamic configuration."""
        return self.root / "gateway"

    @property
    def envoy_bootstrap(self) -> Path:
        """What Envoy is started with."""
        return self.gateway / "bootstrap.json"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's tables, unless they are in PostgreSQL."""
        return self.root / "mlflow.db"

    @property
    def run(self) -> Path:
        """Unix sockets. Their paths hold at most 107 bytes, so a deep root gets a short folder elsewhere.

        The same for every shell: TMPDIR, which may be long as well, has no say.
        """
        return self._short("run", 60, "smalt")

    def _short(self, name: str, most: int, elsewhere: str) -> Path:
        """A folder in the root where its path has at most so many bytes, else one in /tmp."""
        inside = self.root / name
        if len(os.fsencode(inside)) <= most:
            return inside
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path("/tmp") / f"{elsewhere}-{os.getuid()}-{digest}"

    @property
    def ray_head(self) -> Path:
        """Of the Ray head that the platform keeps (`ray` is 'local'): its lock, its token, and where it answers."""
        return self.root / "ray"

    @property
    def ray_head_file(self) -> Path:
        """JSON: {"url", "token"}, of its dashboard."""
        return self.ray_head / "head.json"

    @property
    def ray_nodes(self) -> Path:
        """The roots of that head's nodes on this machine: `{Ray node id}/nN`."""
        return self.ray_head / "nodes"

    @property
    def ray_session(self) -> Path:
        """What Ray keeps for itself, open to all: logs, and sockets whose names are up to 71 bytes long."""
        return self._short("ray", 34, "smalt-r") / "t"

    @property
    def server_socket(self) -> Path:
        return self.run / "server.sock"

    @property
    def mlflow_socket(self) -> Path:
        return self.run / "mlflow.sock"

    @property
    def envoy_admin_socket(self) -> Path:
        return self.run / "envoy.sock"

    @property
    def services_socket(self) -> Path:
        """What browsers and clients say to the services of jobs."""
        return self.run / "services.sock"

    @property
    def asleep_socket(self) -> Path:
        """Where the gateway sends requests to deployments that have no instance: they are held until one is there."""
        return self.run / "asleep.sock"

    @property
    def needs_socket(self) -> Path:
        """Datagrams to the supervisor: the name of a program that is started when it is needed."""
        return self.run / "needs.sock"

    @property
    def hints_socket(self) -> Path:
        """Datagrams from agents: the owner's resource id, so that no one polls."""
        return self.run / "hints.sock"

    def account_url(self, account: str) -> str:
        return f"{self.url}/{account}.blob.{STORAGE_SUFFIX}"


def services_host(host: str) -> str:
    """Of a platform that is reached by that name; an address has no names below it, but that of this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"services.{host.lower()}"
    return "services.localhost" if address.is_loopback else ""


def setting_names() -> list[str]:
    """All that can be set: every field but the root."""
    return [one.name for one in fields(Settings) if one.name != "root"]


def check_setting(name: str, value: object) -> None:
    """Raises SettingsError where `value` is not one for that field."""
    one = next(one for one in fields(Settings) if one.name == name)
    if type(value) is not type(one.default) or not one.metadata["good"](value):
        told = "" if name in ("database_url", "store_url") else f", not {value!r:.80}"  # a URL may hold a password
        raise SettingsError(f"{name} must be {one.metadata['what']}{told}")
