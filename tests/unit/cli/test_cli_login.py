"""`smalt login`: a link that logs in once, of a platform that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt.cli.commands import login
from smalt.cli.root import CliError


def test_each_link_is_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CliError, match="no platform runs"):
        login.run(tmp_path)
    monkeypatch.setattr(login, "holder", lambda root: 1)
    assert login.run(tmp_path) == login.run(tmp_path) == 0
    one, other = capsys.readouterr().out.split()
    assert one != other and all("/login?code=" in link and link.endswith("&next=/studio") for link in (one, other))
