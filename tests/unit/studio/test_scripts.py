"""The Studio's scripts, as far as they can be judged without a browser: what a module asks of another is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smalt.studio.app import STATIC
from smalt.studio.rendering import modules

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


def test_what_a_page_will_need_is_asked_for_at_once() -> None:
    assert modules("studio.js")[0] == "studio.js" and {"live.js", "feed.js", "session.js"} <= set(modules("studio.js"))
    assert set(modules("chart.js")) >= {"chart.js", "smoothing.js"} and modules("time.js") == ("time.js",)
    assert modules("none.js") == ()
    for script in SCRIPTS:
        assert set(modules(script.name)) <= {one.name for one in SCRIPTS}
