"""The public examples: the list of them, and a copy of the checkout with upstream's own template values filled in.

Nothing is changed but two things: placeholders that upstream tells the reader to fill in, and addresses of data that
only the internet has, which get a stand-in from the same checkout (or generated) under the same file name.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

MODEL_VERSION = "1"
REGISTRY = "examples"

# A feature or kind of an example, and what the platform must have for it. The first that matches names the reason.
_NEEDS = (
    ("job:automl", "AutoML"),
    ("job:spark", "Spark"),
)


@dataclass(frozen=True)
class Example:
    """One row: `path` from the checkout's top, `runs` is "executes" or "create and read back"."""

    path: str
    kind: str
    runs: str
    features: tuple[str, ...]
    notes: str

    @property
    def needs(self) -> str | None:
        """The feature beyond jobs, assets, computes and endpoints that this one cannot do without."""
        for feature, name in _NEEDS:
            if any(one.startswith(feature) for one in self.features):
                return name
        return None


def read_list(path: Path) -> list[Example]:
    """The rows of the CSV file with the columns path, kind, runs, features, notes."""
    with path.open(newline="") as file:
        return [
            Example(row["path"], row["kind"], row["runs"], tuple(row["features"].split(";")), row["notes"])
            for row in csv.DictReader(file)
        ]


def working_copy(checkout: Path, target: Path) -> Path:
    """Copy the checkout's examples, so that what a notebook writes stays out of it."""
    for top in ("cli", "sdk", "tutorials"):
        shutil.copytree(checkout / top, target / top, symlinks=True)
    _workspace_config(target)
    return target


def fill_in(text: str, endpoint: str) -> str:
    """Replace upstream's placeholders; `endpoint` is the name for an endpoint of this row."""
    values = {
        "<SUBSCRIPTION_ID>": os.environ["AZURE_SUBSCRIPTION_ID"],
        "<RESOURCE_GROUP>": os.environ["AZUREML_ARM_RESOURCEGROUP"],
        "<AML_WORKSPACE_NAME>": os.environ["AZUREML_ARM_WORKSPACE_NAME"],
        "<WORKSPACE_NAME>": os.environ["AZUREML_ARM_WORKSPACE_NAME"],
        "{{ENDPOINT_NAME}}": endpoint,
        "<ENDPOINT_NAME>": endpoint,
        "<endpoint_name>": endpoint,
        "{{MODEL_VERSION}}": MODEL_VERSION,
        "<TIME_STAMP>": "1",
        "<workspace_connection_name>": "example",
        "<workspace_connection_namename>": "example-feed",
        "<acr_url>": "registry.example.com",
        "<git_url>": "https://git.example.com/repository",
        "<python_feed_url>": "https://feed.example.com/simple/",
        "<REGISTRY-NAME>": endpoint,
        "<REGISTRY_NAME>": REGISTRY,
        "<LOCATION>": "local",
        "<SCORING_SCRIPT>": "single-file-to-file-score.py",
        '"identity_resource_id"': _identity(),
        "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX": "00000000-0000-0000-0000-0000000000aa",
    }
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match[0]], text)


def fill_in_file(path: Path, endpoint: str) -> None:
    """`fill_in`, in place."""
    path.write_text(fill_in(path.read_text(), endpoint))


def _identity() -> str:
    group = f"/subscriptions/{os.environ['AZURE_SUBSCRIPTION_ID']}/resourceGroups/smalt"
    return f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/example"


def _workspace_config(top: Path) -> None:
    """The `config.json` that `MLClient.from_config` looks for in the folders above a notebook."""
    config = {
        "subscription_id": os.environ["AZURE_SUBSCRIPTION_ID"],
        "resource_group": os.environ["AZUREML_ARM_RESOURCEGROUP"],
        "workspace_name": os.environ["AZUREML_ARM_WORKSPACE_NAME"],
    }
    (top / "config.json").write_text(json.dumps(config))
