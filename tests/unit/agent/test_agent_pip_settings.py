"""What the user has told pip, as it is said to what runs behind walls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smalt.agent.pip_settings import own_pip_settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_addresses_are_said_without_what_opens_them(home: Path) -> None:
    write(
        home / ".config" / "pip" / "pip.conf",
        "[global]\nindex-url = https://me:s3cret@packages.example:8443/simple\n"
        "extra-index-url =\n    https://token@one.example/simple\n    https://two.example/simple\ntrusted-host = packages.example\n"
        "[install]\ntimeout = 7\n",
    )
    assert own_pip_settings({}, str(home)) == {
        "PIP_INDEX_URL": "https://packages.example:8443/simple",
        "PIP_EXTRA_INDEX_URL": "https://one.example/simple https://two.example/simple",
        "PIP_TRUSTED_HOST": "packages.example",
        "PIP_TIMEOUT": "7",
    }


def test_later_files_and_variables_win(home: Path) -> None:
    write(home / ".pip" / "pip.conf", "[global]\nindex-url = https://old.example/simple\nretries = 1\n")
    write(home / "xdg" / "pip" / "pip.conf", "[global]\nindex_url = https://own.example/simple\n")
    told = write(home / "told.conf", "[install]\nindex-url = https://told.example/simple\n")
    machine = {"XDG_CONFIG_HOME": str(home / "xdg")}
    assert own_pip_settings(machine, str(home)) == {"PIP_INDEX_URL": "https://own.example/simple", "PIP_RETRIES": "1"}
    machine["PIP_CONFIG_FILE"] = str(told)
    assert own_pip_settings(machine, str(home))["PIP_INDEX_URL"] == "https://told.example/simple"
    machine["PIP_INDEX_URL"] = "https://variable.example/simple"
    assert own_pip_settings(machine, str(home)) == {"PIP_RETRIES": "1"}, "the variable is passed on as it is"
    assert own_pip_settings({"PIP_CONFIG_FILE": os.devnull}, str(home)) == {}, "pip's way to say: read none"


@pytest.mark.parametrize(
    "content", [b"no section", b"[global]\nindex-url", b"\xff\xfe[global]", b"[global]\n[global]\n"]
)
def test_a_file_that_is_wrong_says_nothing(home: Path, content: bytes) -> None:
    path = write(home / ".pip" / "pip.conf", "")
    path.write_bytes(content)
    assert own_pip_settings({}, str(home)) == {}
