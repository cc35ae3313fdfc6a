"""MLflow's process, wired: its own server, and the blob store that its artifacts are in.

    python -m smalt.mlflow_main --root ROOT

`tracking/process/mlflow_server.py` becomes this one.
"""

from __future__ import annotations

import os
import sys

from smalt.settings import Settings
from smalt.tracking.process.mlflow_process import run
from smalt.tracking.process.mlflow_server import settings_of

_OF_STORES = ("AWS_", "AZURE_STORAGE_", "GOOGLE_")


def main(settings: Settings) -> None:
    objects = None
    if settings.remote_store:
        from smalt.blob.accounts.carrying import StoreFiles
        from smalt.blob.store.opening import open_store
        from smalt.blob.store.staging import Staging

        objects = StoreFiles(open_store(settings.store_url), Staging(settings.blobs))
    for name in [one for one in os.environ if one.startswith(_OF_STORES)]:
        del os.environ[name]  # MLflow would open with them whatever s3:// somebody names
    run(settings, objects)


if __name__ == "__main__":
    main(settings_of(sys.argv[1:]))
