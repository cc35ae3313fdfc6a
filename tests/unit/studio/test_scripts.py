"""The Studio's scripts, as far as they can be judged without a browser: what a module asks of another is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smalt.studio.app import STATIC

SCRIPTS = sorted(STATIC.glob("*.js"))
_IMPORT = re.compile(r'import (?:\{([^}]*)\} from )?"\./([^"]+)"')


def exported(text: str) -> set[str]:
    return set(re.findall(r"^export (?:async )?(?:function|const|let|class) (\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.name)
def test_what_a_script_imports_is_exported(script: Path) -> None:
    text = script.read_text()
    for names, of in _IMPORT.findall(text):
        there = exported((STATIC / of).read_text())
        wanted = {name.strip().partition(" as ")[0] for name in names.split(",") if name.strip()}
        assert wanted <= there, f"{of} has no {wanted - there}"
    assert text.count("\nimport ") + text.startswith("import ") == len(_IMPORT.findall(text)), "an import not of here"
