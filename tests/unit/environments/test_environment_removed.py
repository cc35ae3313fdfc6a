"""An environment that is removed is gone as a whole, and its exact versions are not."""

from __future__ import annotations

from pathlib import Path

from smalt.environments.uv import UvEnvironments
from smalt.environments.uv.layout import Layout
from smalt.settings import Settings

KEY = "ab" * 20


def test_nothing_is_left_but_the_lock(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    layout, environments = Layout(settings.envs), UvEnvironments(settings, {})
    for path in (layout.prefix(KEY) / "bin" / "python", layout.lock(KEY), layout.prefix("cd" * 20) / "bin" / "python"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    layout.marker(KEY).write_text("{}")
    assert environments.built(KEY) is not None
    left = layout.prefix(KEY).with_name(f".{KEY}.removed")  # by a removal that was killed
    left.mkdir()
    (left / "half").write_text("")
    environments.remove(KEY)
    assert environments.built(KEY) is None and layout.lock(KEY).exists()
    assert [one.name for one in layout.prefix(KEY).parent.iterdir()] == ["cd" * 20]
    environments.remove(KEY)
