"""pip's configuration, said to uv."""

import os
from pathlib import Path

import pytest

from smalt.environments.uv.machine_index import has_several_indexes, with_pip_settings


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://mirror.example/simple\nextra-index-url =\n  https://a.example/s\n  https://b.example/s\n"
        "[install]\nfind-links = /wheels /more\n"
    )
    return file


def test_a_pip_conf_is_enough(configured: Path, tmp_path: Path) -> None:
    found = with_pip_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(configured)})
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert found["UV_INDEX"] == "https://a.example/s https://b.example/s"
    assert found["UV_FIND_LINKS"] == "/wheels,/more"
    assert has_several_indexes(found, [])


def test_variables_win_over_the_file_and_uvs_own_over_both(configured: Path, tmp_path: Path) -> None:
    base = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(configured), "PIP_INDEX_URL": "https://v.example/simple"}
    assert with_pip_settings(base)["UV_DEFAULT_INDEX"] == "https://v.example/simple"
    own = with_pip_settings({**base, "UV_INDEX_URL": "https://uv.example/simple"})
    assert "UV_DEFAULT_INDEX" not in own


def test_no_configuration_adds_nothing(tmp_path: Path) -> None:
    variables = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    assert with_pip_settings(variables) == variables
    assert not has_several_indexes(variables, [])
    assert has_several_indexes(variables, ["--extra-index-url https://a.example/s"])


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "pip.conf"
    broken.write_bytes(b"\xff\xfe no section")
    before = with_pip_settings({"HOME": str(tmp_path)})
    assert with_pip_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(broken)}).keys() - before.keys() == {
        "PIP_CONFIG_FILE"
    }
