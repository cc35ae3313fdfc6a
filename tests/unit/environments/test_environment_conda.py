"""Conda files: what they say, and every way in which they can be wrong."""

import pytest

from smalt.arm.errors import ArmError
from smalt.environments.uv.conda import parse_conda, version_specifier


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ""),
        ("*", ""),
        ("=1.5", "==1.5.*"),
        ("=1.5.*", "==1.5.*"),
        ("=1.23.*=*_0", "==1.23.*"),
        ("=1.11.1=py36_0", "==1.11.1"),
        ("==1.5", "==1.5"),
        ("==1.5.*", "==1.5.*"),
        (">=1.2,<2", "<2,>=1.2"),
        (">=1.2.*", ">=1.2"),
        ("<=22.0.4", "<=22.0.4"),
        ("~=1.2.0", "~=1.2.0"),
        ("!=1.3", "!=1.3"),
        ("1.23.*", "==1.23.*"),
        ("1.23", "==1.23"),
        ("1.23 py38_0", "==1.23"),
        ("= 1.1.5", "==1.1.5.*"),
        (">=1.0, <2.0", "<2.0,>=1.0"),
        ("=1.23|=1.24", "==1.24.*"),
        ("1.0.0b3", "==1.0.0b3"),
    ],
)
def test_versions_are_said_in_pep_440(written: str, meant: str) -> None:
    assert version_specifier(written) == meant


@pytest.mark.parametrize("nonsense", ["=abc", ">=>1", "=1..2", "==", ">=1.2,,<"])
def test_versions_that_are_none(nonsense: str) -> None:
    assert version_specifier(nonsense) is None


def test_a_file_is_read_with_names_turned_into_pypis() -> None:
    found = parse_conda(
        """
        name: x
        channels: [conda-forge, defaults]
        dependencies:
          - python=3.10
          - pip
          - conda-forge::pytorch=2.1
          - pytorch::torchvision
          - py-xgboost=1.7
          - matplotlib-base
          - pytables>=3.8
          - opencv
          - "numpy[version='>=1.22,<2']"
          - ruamel_yaml
          - dask[dataframe]
          - cudatoolkit=11.3
          - openmpi
          - pip:
            - Tabulate == 0.9.0   # a comment
            - --extra-index-url https://wheels.example/simple
            - git+https://git.example/a/b@v1
        """
    )
    assert found.python == "==3.10.*"
    assert found.packages == [
        "pip",
        "torch==2.1.*",
        "torchvision",
        "xgboost==1.7.*",
        "matplotlib",
        "tables>=3.8",
        "opencv-python-headless",
        "numpy<2,>=1.22",
        "ruamel-yaml",
        "dask[dataframe]",
    ]
    assert found.pip.requirements == ["tabulate==0.9.0", "git+https://git.example/a/b@v1"]
    assert found.pip.options == ["--extra-index-url https://wheels.example/simple"]
    assert [note.split("'")[1] for note in found.notes] == ["cudatoolkit", "openmpi"]


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("a: [", "condaFile", "is not YAML at line"),
        ("- a\n- b", "condaFile", "must be a mapping"),
        ("just text", "condaFile", "must be a mapping"),
        ("dependencies: numpy", "condaFile.dependencies", "must be a list"),
        ("dependencies: [3]", "condaFile.dependencies[0]", "a number"),
        ("dependencies: [{conda: []}]", "condaFile.dependencies[0]", "must be a package"),
        ("dependencies: [pip: numpy]", "condaFile.dependencies[0].pip", "must be a list"),
        ("dependencies: [pip: [1]]", "condaFile.dependencies[0].pip", "must be a list"),
        ("dependencies: [numpy, r-base=4.1]", "condaFile.dependencies[1]", "'r-base' is a package that only conda has"),
        ("dependencies: [gcc]", "condaFile.dependencies[0]", "'gcc'"),
        ("dependencies: ['numpy=>x']", "condaFile.dependencies[0]", "the version of"),
        ("dependencies: ['!!']", "condaFile.dependencies[0]", "not a conda package"),
        ("channels: {a: b}\ndependencies: []", "condaFile.channels", "list of names"),
        ("dependencies: [pip: ['numpy=>1']]", "condaFile.dependencies[0].pip", "not a pip requirement"),
        ("dependencies: [pip: ['-r more.txt']]", "condaFile.dependencies[0].pip", "refers to a file"),
        ("dependencies: [pip: ['-rmore.txt']]", "condaFile.dependencies[0].pip", "refers to a file"),
        ("dependencies: [pip: ['-e .']]", "condaFile.dependencies[0].pip", "refers to a file"),
        ("dependencies: [pip: ['./a.whl']]", "condaFile.dependencies[0].pip", "is a file"),
        ("dependencies: [pip: ['a @ file:///etc/passwd']]", "condaFile.dependencies[0].pip", "only http"),
        ("dependencies: [pip: ['--weird']]", "condaFile.dependencies[0].pip", "'--weird'"),
        ("dependencies: [2024-99-99]", "condaFile", ""),
        ("x: " + "y" * 70_000, "condaFile", "larger than 64 kB"),
        ("a: &a [x]\ndependencies: [pip: *a]", "condaFile", "aliases"),
        ("dependencies: " + "[" * 5000, "condaFile", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(text: str, target: str, words: str) -> None:
    with pytest.raises(ArmError) as caught:
        parse_conda(text)
    assert caught.value.status == 400
    assert (caught.value.target or "").startswith(target)
    assert words in caught.value.message


def test_all_faults_come_together() -> None:
    with pytest.raises(ArmError) as caught:
        parse_conda("dependencies: [r-base, 7, pip: ['-e .', 'a b c']]")
    assert len(caught.value.details) == 4
    assert all(one.message in caught.value.message for one in caught.value.details)


def test_an_empty_file_asks_for_nothing() -> None:
    assert parse_conda("name: x\ndependencies:\n").packages == []


def test_variables_are_texts_and_numbers() -> None:
    found = parse_conda("dependencies: [pip]\nvariables: {A: text, B: 1, C: 0.5, D: true, _e: ''}")
    assert found.variables == {"A": "text", "B": "1", "C": "0.5", "D": "True", "_e": ""}
    assert parse_conda("variables:\ndependencies: [pip]").variables == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[A]", "must be a mapping"),
        ("{A-B: x}", "'A-B'"),
        ("{1: x}", "'1'"),
        ("{A: [1]}", "variables.A"),
        ("{A: }", "empty"),
    ],
)
def test_variables_that_no_shell_could_set(text: str, word: str) -> None:
    with pytest.raises(ArmError) as caught:
        parse_conda(f"dependencies: [pip]\nvariables: {text}")
    assert word in caught.value.message and "variables" in str(caught.value.target)
