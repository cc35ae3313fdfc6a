"""`smalt env`: the names that the clients read, quoted so that a shell gives back exactly the value."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from live.tools import wanting
from smalt.cli.variables import client_variables, in_syntax_of
from smalt.settings import Settings

AWKWARD = {"PLAIN": "value", "SPACES": "a b", "QUOTES": 'it\'s "so"', "SIGNS": "$HOME `id` \\ \\' ; * é", "EMPTY": ""}


def test_the_variables_are_those_of_the_contract() -> None:
    assert client_variables(Settings(Path("/srv/smalt"), "ml.example", 9443), "s3cret") == {
        "ARM_CLOUD_METADATA_URL": "https://ml.example:9443/metadata/endpoints",
        "AZUREML_CURRENT_CLOUD": "Smalt",
        "AZURE_CLOUD_NAME": "Smalt",
        "REQUESTS_CA_BUNDLE": "/srv/smalt/tls/bundle.pem",
        "SSL_CERT_FILE": "/srv/smalt/tls/bundle.pem",
        "CURL_CA_BUNDLE": "/srv/smalt/tls/bundle.pem",
        "IDENTITY_ENDPOINT": "https://ml.example:9443/msi/token",
        "IDENTITY_HEADER": "s3cret",
        "AZURE_AUTHORITY_HOST": "https://ml.example:9443/adfs",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": "https://ml.example:9443/",
        "AZURE_EXTENSION_INDEX_URL": "https://ml.example:9443/extensions/index.json",
        "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000001",
        "AZUREML_ARM_SUBSCRIPTION": "00000000-0000-0000-0000-000000000001",
        "AZUREML_ARM_RESOURCEGROUP": "smalt",
        "AZUREML_ARM_WORKSPACE_NAME": "default",
    }


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_reads_back_the_values(shell: str) -> None:
    if shutil.which(shell) is None:
        wanting(shell, "install it")
    script = in_syntax_of(shell, AWKWARD) + "\n" + "\n".join(f"printf '%s\\0' \"${name}\"" for name in AWKWARD)
    said = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split("\0")[:-1] == list(AWKWARD.values())


def test_fish_quotes_only_what_is_special_between_its_quotes() -> None:
    assert in_syntax_of("fish", {"A": "it's \\ $x"}) == "set -gx A 'it\\'s \\\\ $x'"


def test_json_is_an_object() -> None:
    assert json.loads(in_syntax_of("json", AWKWARD)) == AWKWARD
