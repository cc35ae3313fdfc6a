"""The machine's pip configuration, said to uv: uv reads its own settings only, but many machines have only pip's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smalt.agent.pip_settings import all_pip_settings

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
    configured = all_pip_settings(variables, variables.get("HOME") or str(Path.home()))
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
