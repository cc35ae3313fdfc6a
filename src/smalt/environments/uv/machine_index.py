"""The machine's pip configuration, said to uv: uv reads its own settings only, but many machines have only pip's."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

_MEANINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
_ALTERNATIVES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def with_pip_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """`variables`, and pip's index settings wherever uv has none of its own. PIP_* win over pip.conf, as in pip."""
    found = dict(variables)
    configured = _configured(variables)
    for setting, name in _MEANINGS.items():
        value = variables.get("PIP_" + setting.replace("-", "_").upper()) or configured.get(setting)
        taken = name in found or _ALTERNATIVES.get(name, name) in found
        if value and not taken:
            found[name] = (",".join if name == "UV_FIND_LINKS" else " ".join)(value.split())
    return found


def has_several_indexes(variables: Mapping[str, str], options: list[str]) -> bool:
    """Whether versions come from more than one index: pip then takes the best of all, uv only if told so."""
    return (
        any(one.startswith("--extra-index-url") for one in options)
        or "UV_INDEX" in variables
        or "UV_EXTRA_INDEX_URL" in variables
    )


def _configured(variables: Mapping[str, str]) -> dict[str, str]:
    if variables.get("PIP_CONFIG_FILE") == os.devnull:  # pip's own way to say: read none of them
        return {}
    home = Path(variables.get("HOME") or Path.home())
    own = Path(variables.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    files = [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", own]
    if variables.get("PIP_CONFIG_FILE"):
        files.append(Path(variables["PIP_CONFIG_FILE"]))
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file)
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    return found
