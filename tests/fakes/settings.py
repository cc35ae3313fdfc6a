"""Each setting at another value than its default: a new setting gets a line here, and the tests follow."""

from __future__ import annotations

from typing import Any

OTHER: dict[str, Any] = {
    "host": "ml.example",
    "port": 9443,
    "database_url": "postgresql://db/smalt",
    "store_url": "s3://blobs/smalt",
    "isolation": "off",
    "node_lost_s": 600,
    "show": "/usr:/opt",
    "cache_mib": 512,
    "mlflow_idle_s": 60,
    "models": "safe",
    "scale_in_after_s": 5,
    "webhook_hosts": "hooks.example,*.chat.example:8443",
    "otlp": "http://localhost:4318",
    "openlineage": "https://lineage.example",
    "ray": "http://ray.example:8265",
    "ray_token_file": "/run/ray.token",
}
