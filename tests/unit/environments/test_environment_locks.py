"""Locks as text: the lines of one package, and lines that are no part of a lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt.environments.uv.locks import Resolution, foreign_line, requirement
from smalt.environments.uv.resolve import without_wheels
from smalt.environments.uv.workshop import pinned

ONE, OTHER = "0" * 64, "1" * 64
LOCK = f"""alpha-plus==1.0 \\
    --hash=sha256:{ONE} \\
    --hash=sha256:{OTHER}
beta==2.0.post1+cpu ; python_full_version < '3.12' \\
    --hash=sha256:{ONE}
gamma==3.0
"""


def test_the_lines_of_one_package() -> None:
    assert requirement(LOCK, "gamma") == "gamma==3.0\n"
    assert requirement(LOCK, "beta").startswith("beta==2.0.post1+cpu ;") and OTHER not in requirement(LOCK, "beta")
    assert requirement(LOCK, "alpha-plus").count("--hash") == 2
    assert requirement(LOCK, "alpha") == ""


def test_a_lock_is_versions_and_hashes() -> None:
    assert foreign_line(LOCK, ()) == ""
    address = "https://example.org/delta-1.0-py3-none-any.whl"
    assert foreign_line(f"delta @ {address} \\\n    --hash=sha256:{ONE}\n", {address}) == ""


@pytest.mark.parametrize(
    "line",
    [
        "-r /etc/passwd",
        "--index-url https://example.org/simple",
        "--no-binary :all:",
        "evil @ git+https://example.org/evil",
        "-e /somewhere",
        "/somewhere/evil-1.0.whl",
        "evil",
        f"    --hash=sha256:{ONE} --config-settings=a=b",
        "evil==1.0 --config-settings=a=b",
    ],
)
def test_nothing_else_is(line: str) -> None:
    assert foreign_line(f"{LOCK}{line}\n", {"https://example.org/delta-1.0-py3-none-any.whl"}) == line


def test_a_built_wheel_has_its_own_hash(tmp_path: Path) -> None:
    wheel = tmp_path / "alpha.whl"
    wheel.write_bytes(b"")
    text = pinned(Resolution(LOCK, ("alpha-plus", "beta"), ()), {"alpha-plus": wheel, "beta": wheel})
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert text == (
        f"alpha-plus==1.0 --hash=sha256:{empty}\n"
        f"beta==2.0.post1+cpu ; python_full_version < '3.12' --hash=sha256:{empty}\n"
        "gamma==3.0\n"
    )


def test_packages_whose_wheels_are_not_wanted() -> None:
    options = ["--pre", "--no-binary Alpha_Plus,beta", "--no-binary :all:", "--only-binary gamma"]
    assert without_wheels(options) == {"alpha-plus", "beta"}
