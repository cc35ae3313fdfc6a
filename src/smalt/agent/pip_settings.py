"""Where packages come from, as the user that Smalt runs as has told pip: said to what runs behind walls, by variables.

A process behind walls has another HOME, and so not the user's pip.conf. It is told the addresses alone: what opens an
index stays with the user. `/etc/pip.conf` and the variables of `environ.PASSED_ON` are there anyway.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_ADDRESSES = ("index-url", "extra-index-url")
_FILE = "PIP_CONFIG_FILE"
_WORDS = ("trusted-host", "timeout", "retries")


def own_pip_settings(machine: Mapping[str, str], home: str) -> dict[str, str]:
    """`PIP_…` for what the user's own files say and no variable of `machine` does. `home`: the user's."""
    said, found = _read(_own(machine, home)), dict[str, str]()
    for name in (*_ADDRESSES, *_WORDS):
        variable = "PIP_" + name.replace("-", "_").upper()
        words = [_open(one) if name in _ADDRESSES else one for one in said.get(name, "").split()]
        if words and variable not in machine:
            found[variable] = " ".join(words)
    return found


def all_pip_settings(machine: Mapping[str, str], home: str) -> dict[str, str]:
    """What pip's files say, the machine's and the user's, by pip's names of options."""
    return _read([Path("/etc/pip.conf"), *_own(machine, home)] if machine.get(_FILE) != os.devnull else [])


def _read(files: Sequence[Path]) -> dict[str, str]:
    """The later win, and what is for `pip install` alone. Of one that cannot be read pip itself says what is wrong."""
    said: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                said.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    return said


def _own(machine: Mapping[str, str], home: str) -> list[Path]:
    """In the order in which pip reads them; none where it is told to read none."""
    told = machine.get(_FILE, "")
    if told == os.devnull:
        return []
    own = Path(machine.get("XDG_CONFIG_HOME") or Path(home) / ".config") / "pip" / "pip.conf"
    return [Path(home) / ".pip" / "pip.conf", own, *([Path(told)] if told else [])]


def _open(address: str) -> str:
    """Without a name and a password."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
