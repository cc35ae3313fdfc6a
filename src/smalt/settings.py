"""Where a platform lives and how it is reached: read once, passed in everywhere.

`Settings` is what `smalt up` was told (and remembers in `<root>/config.json`); every path and URL derives from it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
RESOURCE_GROUP = "smalt"
WORKSPACE = "default"
REGION = "local"
CLOUD = "Smalt"
STORAGE_SUFFIX = "core.smalt"  # blobs are at https://HOST:PORT/{account}.blob.core.smalt/{container}/{blob}
ARTIFACT_CONTAINER = "azureml"  # the container of a workspace's account that holds what its jobs log
TENANT = "00000000-0000-0000-0000-00000000000a"
PORTAL = "https://portal.azure.smalt/"  # the clients derive the ML audience from it
ML_AUDIENCE = "https://ml.azure.smalt"
STORAGE_AUDIENCE = "https://storage.azure.com"


@dataclass(frozen=True)
class Settings:
    """One platform. `root` holds everything; `database_url` overrides the SQLite file in it."""

    root: Path
    host: str = "localhost"
    port: int = 7443
    database_url: str = ""

    @property
    def url(self) -> str:
        """https://HOST:PORT, without a slash at the end: also ARM's address and its audience."""
        return f"https://{self.host}:{self.port}"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.root / 'smalt.db'}"

    @property
    def blobs(self) -> Path:
        """`blobs/{account}/{container}/{blob}`: a blob is a file."""
        return self.root / "blobs"

    @property
    def envs(self) -> Path:
        """Built environments, the wheel cache and build logs; on one file system, for hardlinks."""
        return self.root / "envs"

    @property
    def tasks(self) -> Path:
        return self.root / "tasks"

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
    def mlflow_database(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def run(self) -> Path:
        """Unix sockets. Their paths hold at most 107 bytes, so a deep root gets a short folder elsewhere."""
        inside = self.root / "run"
        if len(os.fsencode(inside)) <= 60:
            return inside
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"smalt-{os.getuid()}-{digest}"

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
    def hints_socket(self) -> Path:
        """Datagrams from agents: the owner's resource id, so that no one polls."""
        return self.run / "hints.sock"

    def account_url(self, account: str) -> str:
        return f"{self.url}/{account}.blob.{STORAGE_SUFFIX}"
