"""Folders of the machine that the owner shows to jobs behind walls."""

from __future__ import annotations

import subprocess

import pytest

from fakes.walled import PLAIN, USER, needs_root, succeeds, walled_root


@pytest.mark.parametrize(
    ("agent", "user", "level"),
    [
        pytest.param(None, 0, "walls", id="who runs the tests"),
        pytest.param(None, USER, "walls", id="root, own user", marks=needs_root),
        pytest.param(PLAIN, 0, "walls", id="plain user", marks=needs_root),
        pytest.param(PLAIN, 0, "files", id="plain user, Landlock", marks=needs_root),
    ],
)
def test_a_shown_folder_is_read_at_its_path_and_not_written(agent: int | None, user: int, level: str) -> None:
    with walled_root(agent, user, level) as walled:
        folder = walled.root.parent / "data"
        folder.mkdir(mode=0o700)
        (folder / "a.csv").write_text("1,2\n")
        (folder / "a.csv").chmod(0o600)
        if agent is not None:
            subprocess.run(["chown", "-R", f"{agent}:{agent}", folder], check=True)
        command = f"cat {folder}/a.csv; touch {folder}/b || echo refused"
        assert "1,2" not in walled.run(command)[1], "else the test shows nothing"
        walled.shown = [str(folder), "/nothing/is/here"]
        log = succeeds(walled.run(command)).splitlines()
        assert log[0] == "1,2" and log[-1] == "refused"
        assert [one.name for one in folder.iterdir()] == ["a.csv"]
