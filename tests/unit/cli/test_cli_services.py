"""The command that `smalt services` shows for ssh: it leads to that very job, whatever folder it is pasted in."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer.testing

from smalt.azext_ml.groups import job as az_job
from smalt.cli.commands.services import ssh_line
from smalt.cli.main import app


def test_it_names_the_platform_and_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ssh, _, option, name = shlex.split(ssh_line(Path("my %root"), "train-1", "bank", 2))
    assert (ssh, name) == ("ssh", "train-1")
    program = shlex.split(option.removeprefix("ProxyCommand=").replace("%%", "%"))
    assert program[0] == "smalt" and "%r" not in option.replace("%%", "")
    seen: dict[str, object] = {}
    monkeypatch.setattr("smalt.cli.main.run", lambda *which, **given: seen.update(given))
    done = typer.testing.CliRunner().invoke(app, program[1:])
    assert done.exit_code == 0, done.output
    assert seen == {"root": tmp_path / "my %root", "job": "train-1", "workspace": "bank", "node": 2}
    assert "--root" not in ssh_line(None, "train-1", "bank", 0)


@pytest.mark.parametrize("name", ["posix", "nt"])
def test_az_quotes_the_tunnel_as_the_systems_shell_reads_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    python = "C:\\Program Files\\Python\\python.exe" if name == "nt" else "/my python/bin/python"
    monkeypatch.setattr(az_job, "on_windows", lambda: name == "nt")
    words = az_job.ssh_words("ssh", python, "https://x/ssh", "train-1", None)
    program = words[words.index("-o") + 1].removeprefix("ProxyCommand=")
    assert program.startswith(f'"{python}" ' if name == "nt" else f"'{python}' ")
