"""Artifact paths and the blobs that they mean."""

from __future__ import annotations

import pytest

from smalt.arm.errors import ArmError
from smalt.tracking.artifacts.artifact_names import blob_name


@pytest.mark.parametrize(
    ("path", "blob"),
    [
        ("ExperimentRun/dcid.job/model/MLmodel", "ExperimentRun/dcid.job/model/MLmodel"),
        ("3/0123abc/artifacts", "ExperimentRun/dcid.0123abc"),
        ("3/0123abc/artifacts/a/b c.txt", "ExperimentRun/dcid.0123abc/a/b c.txt"),
        ("3/models/m-1/artifacts/MLmodel", "LoggedModel/m-1/MLmodel"),
        ("3/traces/tr-1/artifacts/traces.json", "Trace/tr-1/traces.json"),
        ("3/else", "Experiment/3/else"),
        ("LocalUpload/x/y", "LocalUpload/x/y"),
        ("/3/0123abc/artifacts/x/", "ExperimentRun/dcid.0123abc/x"),
    ],
)
def test_a_run_has_one_folder_however_it_was_made(path: str, blob: str) -> None:
    assert blob_name(path) == blob


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "..",
        "../x",
        "a/../b",
        "a/./b",
        "3/run/artifacts/../../x",
        "a\\..\\b",
        "a\0b",
        "x" * 256,
        "a/\udcff",
    ],
)
def test_what_climbs_or_cannot_be_stored_is_refused(path: str) -> None:
    with pytest.raises(ArmError) as caught:
        blob_name(path)
    assert caught.value.status == 400
