"""Resolving with real uv against wheels made on the spot: what gives way, what does not, and what is said of it."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uv as uv_wheel

from smalt.environments.uv.locks import Resolution, versions
from smalt.environments.uv.process import Uv
from smalt.environments.uv.resolve import Resolver, Unresolvable

Wheel = Callable[..., Path]
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = f"cp{OWN.replace('.', '')}-cp{OWN.replace('.', '')}-linux_{os.uname().machine}"
OTHER = f"cp38-cp38-linux_{os.uname().machine}"


@pytest.fixture
def resolve(tmp_path: Path, wheels: Path) -> Callable[..., Resolution]:
    def run(exact: bool = True, preferred: Path | None = None, **asked: list[str]) -> Resolution:
        definition: dict[str, Any] = {
            "python": OWN,
            "interpreter": sys.executable,
            "exact": exact,
            "options": ["--no-index", f"--find-links {wheels}"],
            **{origin: asked.get(origin, []) for origin in ("seeds", "conda", "pip", "serving")},
        }
        uv = Uv(uv_wheel.find_uv_bin(), str(tmp_path / "cache"), os.environ)
        return Resolver(uv, definition, [], preferred).resolve()

    return run


def test_pins_stay_as_they_are(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("alpha", "1.0", "beta>=1")
    wheel("alpha", "1.1")
    wheel("beta", "1.0")
    found = resolve(pip=["alpha==1.0"])
    assert versions(found.text) == {"alpha": "1.0", "beta": "1.0"}
    assert "--hash=sha256:" in found.text
    assert found.notes == ()


def test_a_project_around_the_working_folder_has_no_say(
    wheel: Wheel, resolve: Callable[..., Resolution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel("alpha", "1.0")
    wheel("alpha", "1.1")
    project = '[project]\nname = "x"\nversion = "0"\n[tool.uv]\nconstraint-dependencies = ["alpha<1.1"]\n'
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert versions(resolve(pip=["alpha"]).text) == {"alpha": "1.1"}


def test_a_package_that_cannot_be_had_is_named(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("alpha", "1.0")
    with pytest.raises(Unresolvable, match="No version of 'no-such-package-xyz' can be had"):
        resolve(pip=["alpha", "no-such-package-xyz"])


def test_a_dependency_that_cannot_be_had_names_who_needs_it(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("alpha", "1.0", "missing-thing>=2")
    with pytest.raises(Unresolvable, match=r"'missing-thing' can be had.*alpha"):
        resolve(pip=["alpha"])


def test_a_version_of_pip_that_is_not_there_is_an_error(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("alpha", "1.0")
    with pytest.raises(Unresolvable, match=r"'alpha==9\.9'"):
        resolve(pip=["alpha==9.9"], exact=False)


def test_a_version_of_conda_that_pypi_lacks_gives_way(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("alpha", "1.1.4")
    wheel("alpha", "1.3.0")
    found = resolve(conda=["alpha==1.1.2"])
    assert versions(found.text) == {"alpha": "1.1.4"}
    assert found.notes == ("alpha==1.1.2 was relaxed to alpha==1.1.4: PyPI has no such version.",)


def test_without_a_wheel_the_nearest_with_one_is_taken(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("native", "1.4.0", tag=OTHER)
    for version in ("1.5.0", "1.5.3", "2.0.0"):
        wheel("native", version, tag=TAG)
    wheel("alpha", "1.0")
    found = resolve(pip=["native==1.4.0", "alpha==1.0"])
    assert versions(found.text) == {"native": "1.5.3", "alpha": "1.0"}
    assert found.notes == (f"native==1.4.0 was relaxed to native==1.5.3: no wheel for Python {OWN}.",)


def test_where_only_older_ones_have_a_wheel_an_older_one_is_taken(
    wheel: Wheel, resolve: Callable[..., Resolution]
) -> None:
    wheel("native", "2.3.0", tag="cp399-cp399-linux_x86_64")
    wheel("native", "2.0.0", tag=TAG)
    assert versions(resolve(pip=["native==2.3.0"]).text) == {"native": "2.0.0"}


def test_who_needs_a_package_without_wheel_gives_way(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("alpha", "1.0", "native<2")
    wheel("alpha", "1.1", "native>=2")
    wheel("native", "1.0", tag=OTHER)
    wheel("native", "2.0", tag=TAG)
    found = resolve(pip=["alpha==1.0"])
    assert versions(found.text) == {"alpha": "1.1", "native": "2.0"}
    assert "it needs 'native'" in found.notes[0]


def test_a_conflict_of_the_users_own_names_both_sides(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("alpha", "1.0", "beta<2")
    wheel("beta", "1.0")
    wheel("beta", "2.0")
    with pytest.raises(Unresolvable) as caught:
        resolve(pip=["alpha==1.0", "beta==2.0"])
    assert "cannot be installed together" in str(caught.value)
    assert "alpha==1.0" in str(caught.value) and "beta==2.0" in str(caught.value)


def test_pips_word_stands_against_condas(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("alpha", "1.0", "beta>=2")
    wheel("beta", "1.0")
    wheel("beta", "2.0")
    found = resolve(pip=["alpha==1.0"], conda=["beta==1.0"])
    assert versions(found.text) == {"alpha": "1.0", "beta": "2.0"}
    assert len(found.notes) == 1 and found.notes[0].startswith("beta==1.0 was relaxed to beta==2.0")


def test_with_another_interpreter_one_pin_of_a_conflict_gives_way(
    wheel: Wheel, resolve: Callable[..., Resolution]
) -> None:
    wheel("alpha", "1.0", "beta<2")
    wheel("alpha", "1.1", "beta>=2")
    wheel("beta", "1.0")
    wheel("beta", "2.0")
    found = resolve(pip=["alpha==1.0", "beta==2.0"], exact=False)
    assert len(found.notes) == 1
    assert versions(found.text) in ({"alpha": "1.1", "beta": "2.0"}, {"alpha": "1.0", "beta": "1.0"})


def test_numpy_stays_below_2_for_what_is_made_for_1(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("numpy", "1.26.4")
    wheel("numpy", "2.1.0")
    wheel("pandas", "1.5.3", "numpy>=1.21")
    wheel("pandas", "2.2.3", "numpy>=1.21")
    found = resolve(conda=["pandas==1.5.3"])
    assert versions(found.text)["numpy"] == "1.26.4"
    assert found.notes == ("numpy<2 was added: pandas before 2.2.2 is made for numpy 1.",)
    assert versions(resolve(conda=["pandas==2.2.3"]).text)["numpy"] == "2.1.0"


def test_a_users_own_numpy_2_wins(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("numpy", "1.26.4")
    wheel("numpy", "2.1.0")
    wheel("pandas", "1.5.3", "numpy>=1.21")
    found = resolve(pip=["pandas==1.5.3", "numpy>=2"])
    assert versions(found.text)["numpy"] == "2.1.0"
    assert found.notes == ()


def test_our_own_setuptools_bound_gives_way_to_the_user(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("setuptools", "80.0")
    wheel("setuptools", "82.0")
    wheel("alpha", "1.0", "setuptools>=82")
    assert versions(resolve(seeds=["setuptools<81"]).text)["setuptools"] == "80.0"
    assert versions(resolve(seeds=["setuptools<81"], pip=["alpha"]).text)["setuptools"] == "82.0"


def test_the_inference_server_is_resolved_with_the_users_pins(wheel: Wheel, resolve: Callable[..., Resolution]) -> None:
    wheel("shared", "1.0")
    wheel("shared", "2.0")
    wheel("server", "5.0", "shared>=2")
    wheel("server", "4.0", "shared<2")
    found = resolve(pip=["shared==1.0"], serving=["server"])
    assert versions(found.text) == {"shared": "1.0", "server": "4.0"}


def test_a_real_conflict_with_the_inference_server_names_both_sides(
    wheel: Wheel, resolve: Callable[..., Resolution]
) -> None:
    wheel("shared", "1.0")
    wheel("shared", "2.0")
    wheel("server", "5.0", "shared>=2")
    with pytest.raises(Unresolvable, match="The inference server needs server") as caught:
        resolve(pip=["shared==1.0"], serving=["server"])
    assert "shared==1.0" in str(caught.value)


def test_versions_of_the_other_lock_are_preferred(
    wheel: Wheel, resolve: Callable[..., Resolution], tmp_path: Path
) -> None:
    wheel("alpha", "1.0")
    wheel("server", "1.0")
    kept = tmp_path / "plain.txt"
    kept.write_text('# smalt: {"key": "k", "sources": [], "notes": []}\n' + resolve(pip=["alpha"]).text)
    wheel("alpha", "2.0")
    assert versions(resolve(pip=["alpha"], serving=["server"], preferred=kept).text)["alpha"] == "1.0"
    assert versions(resolve(pip=["alpha"]).text)["alpha"] == "2.0"


def test_a_source_that_cannot_be_built_gives_way_to_a_wheel(
    wheel: Wheel, wheels: Path, resolve: Callable[..., Resolution]
) -> None:
    broken_source(wheels, "alpha", "1.0.0")
    wheel("alpha", "1.0.1")
    found = resolve(pip=["alpha==1.0.0"])
    assert versions(found.text) == {"alpha": "1.0.1"}
    assert found.sources == ()
    assert found.notes == ("alpha==1.0.0 was relaxed to alpha==1.0.1: could not be built from source.",)


def test_a_source_that_cannot_be_built_and_has_no_wheel_is_named(
    wheels: Path, resolve: Callable[..., Resolution]
) -> None:
    broken_source(wheels, "alpha", "1.0.0")
    with pytest.raises(Unresolvable, match=r"'alpha'.*could not be built from source"):
        resolve(pip=["alpha"])


def test_an_address_of_an_index_that_is_dead_is_no_conflict(
    resolve: Callable[..., Resolution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")  # uv's patience with a dead server is not the subject
    with pytest.raises(Unresolvable, match=r"http://127\.0\.0\.1:9/"):
        resolve(pip=["alpha @ http://127.0.0.1:9/alpha-1.0-py3-none-any.whl"])


def broken_source(folder: Path, name: str, version: str) -> None:
    files = {
        "setup.py": "raise SystemExit('no compiler for this')\n",
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'nothing'\nbackend-path = ['.']\n",
        "nothing.py": "raise SystemExit('no compiler for this')\n",
        "PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}-{version}/{path}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
