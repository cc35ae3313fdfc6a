"""bench/blobs.py's figures with the platform itself: its Envoy, TLS and server, against Azurite on plain http in the same run.

    python bench/platform_blobs.py --azurite FOLDER [--root ROOT] [--mib 1024] [--rounds 5] [--seconds 5] [--json]

FOLDER is where `npm install azurite` ran. The one stream is azure-storage-blob's with max_concurrency 1.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import blobs
import needs
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import generate_account_sas

import live
from live import Live
from smalt.settings import STORAGE_SUFFIX as SUFFIX


def measure(platform: Live, azurite: Path, scratch: Path, mib: int, rounds: int, seconds: int) -> dict[str, Any]:
    large = scratch / "large"
    with large.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    ours = _service(platform)
    platform.warm()
    (scratch / "azurite").mkdir()
    with blobs.azurite(azurite, scratch / "azurite") as theirs:
        for service in (theirs, ours):
            with service.container() as client, suppress(ResourceExistsError):
                client.create_container()
        results = blobs.large_file((theirs, ours), large, rounds)
        for service in (theirs, ours):
            results[service.name] |= blobs.small_puts(service, seconds, scratch)
    reference, found = results[theirs.name], results[ours.name]
    ratios = {name: round(found[name] / reference[name], 2) for name in reference}
    return {
        **{name: {key: round(value, 1) for key, value in one.items()} for name, one in results.items()},
        "ratio": ratios,
        "load": live.load(),
    }


def _service(platform: Live) -> blobs.Service:
    """The account of the workspace, opened by a SAS that its key signs, as azure-storage-blob's users do."""
    keys = platform.post("/listKeys")
    account = platform.get("")["properties"]["storageAccount"].rsplit("/", 1)[-1]
    expiry = datetime.now(UTC) + timedelta(hours=1)
    sas = generate_account_sas(account, keys["userStorageKey"], "sco", "racwdl", expiry)
    return blobs.Service("smalt, Envoy + TLS", f"{platform.url}/{account}.blob.{SUFFIX}", sas, str(platform.ca))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--azurite", type=Path, required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="(the output is JSON)")
    given = parser.parse_args()
    needs.check(["platform_blobs"], given.azurite, None)
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as name:
        scratch = Path(name)
        with live.started(given.root or scratch / "root") as platform:
            result = measure(platform, given.azurite, scratch, given.mib, given.rounds, given.seconds)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
