"""`<root>/config.json`: what a platform was told, read and checked.

Only `smalt up` writes it (`smalt.cli.root.remember`). Every process of a platform reads it for itself, so that no
setting has to be handed on from one to the next.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from smalt.settings import Settings, SettingsError, check_setting, setting_names

LAYOUT = 1  # of the folder; a root of a later one was written by a newer Smalt and is refused


def read_settings(root: Path) -> Settings:
    """The settings of `root`, defaults where it does not exist yet. Raises SettingsError where they cannot be used."""
    config = read_config(root)
    config.pop("layout", None)
    return Settings(root, **config)


def read_config(root: Path) -> dict[str, Any]:
    """What the file says: `layout` and settings, all of them good; empty where there is no file."""
    path = root / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError as error:
        raise SettingsError(f"{path} cannot be read: it belongs to another user.") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise _damaged(path, "it is not a JSON object")
    _check_layout(path, config)
    try:
        for name in config.keys() - {"layout"}:
            _check_name(name)
            check_setting(name, config[name])
    except SettingsError as error:
        raise _damaged(path, str(error)) from error
    return config


def _check_layout(path: Path, config: dict[str, Any]) -> None:
    """First of all: what a newer version wrote cannot be judged here."""
    layout = config.get("layout")
    if type(layout) is not int or layout < 1:
        raise _damaged(path, f'it lacks "layout": {LAYOUT}' if layout is None else f"layout must be {LAYOUT}")
    if layout > LAYOUT:
        raise SettingsError(
            f"{path.parent} was written by a newer Smalt (layout {layout}, this one knows {LAYOUT});"
            " upgrade Smalt or use another root."
        )


def _check_name(name: str) -> None:
    known = setting_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        meant = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
        raise SettingsError(f"there is no setting {name!r:.80} ({meant})")


def _damaged(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path} is damaged: {why}. Repair it, or choose another root with --root.")
