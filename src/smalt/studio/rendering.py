"""Templates: what is not defined is an error, and all values are text until a template says otherwise."""

from __future__ import annotations

import html
import math
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse

from smalt.studio.examples import EXAMPLES
from smalt.studio.navigation import AREAS
from smalt.studio.visit import ROOT, SHARE, Visit

if TYPE_CHECKING:
    from jinja2 import Environment

# No script, style or request from anywhere but here, and none that stands in a page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; worker-src "
    "'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # `no-referrer` would take the Origin from forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LINK = re.compile(r'<a\s[^>]*?href="([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)
_STATIC = Path(__file__).parent / "static"
_IMPORT = re.compile(r'^import (?:\{[^}]*\} from )?"\./([^"]+)"', re.MULTILINE)
_ELEMENT = re.compile(r"<s-([a-z]+)[ >]")
ENDED = ("Completed", "Failed", "Canceled")
_TONES = {"Completed": "good", "Failed": "bad", "Canceled": "off", "Running": "busy", "Finalizing": "busy",
          "NotStarted": "wait", "Queued": "wait", "Preparing": "wait", "Starting": "wait"}  # fmt: skip


def seconds(text: str | None) -> float | None:
    """Since the epoch, of a time as the API writes it."""
    return datetime.fromisoformat(text).timestamp() if text else None


def duration(started: str | None, ended: str | None) -> str:
    begin, end = seconds(started), seconds(ended)
    if begin is None:
        return "–"
    return lasted((end if end is not None else moment()) - begin)


def moment() -> float:
    """Now, in seconds since the epoch."""
    return datetime.now(UTC).timestamp()


def lasted(length: float) -> str:
    """A number of seconds, as people say it."""
    whole = max(0, math.floor(length))
    if 0 < length < 1:
        return "< 1 s"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def number(value: float | str | None) -> str:
    """Of a metric: as many digits as tell it from others; a dash where there is none."""
    return "–" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def short(value: object) -> str:
    """Of a parameter or a metric: a fraction with at most 6 significant digits; anything else as it is."""
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[-+]?\d*\.\d+([eE][-+]?\d+)?", text):
        return text
    return text if len(text) <= len(cut := f"{float(text):.6g}") else cut


def spoken(text: str | None) -> str:
    """An ISO 8601 duration of hours, minutes and seconds, as people say it; what is none, as it is."""
    found = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", text or "")
    if not text or not found or text == "PT":
        return text or ""
    whole = sum(int(one or 0) * unit for one, unit in zip(found.groups(), (3600, 60, 1), strict=True))
    parts = ((whole // 3600, "hour"), (whole % 3600 // 60, "minute"), (whole % 60, "second"))
    return " ".join(f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts if count) or "0 seconds"


def linked(text: str, visit: Visit) -> Any:
    """A message in which jobs, as the platform names them there, and addresses of the Studio are links."""
    from markupsafe import Markup, escape

    studio = visit.settings.url + ROOT
    pattern = rf"({re.escape(studio)}/[^\s'\"<>]*[^\s'\"<>.,;:)]|(?<=\(job )[A-Za-z0-9][\w-]*(?=\)))"
    link, shown = Markup('<a href="{}">{}</a>'), Markup()
    for at, one in enumerate(re.split(pattern, text)):
        to = ROOT + one.removeprefix(studio) if one.startswith(studio) else visit.link(f"/jobs/{one}")
        shown += link.format(to, one) if at % 2 else escape(one)
    return shown


def utc(text: str) -> str:
    """To the second, for who has no script; the element shows it in the viewer's zone."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@cache
def templates() -> Environment:
    """Made for the first page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("smalt.studio"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "utc": utc,
        "tone": lambda state: _TONES.get(state, "wait"),
        "number": number,
        "lasted": lasted,
        "linked": linked,
        "short": short,
        "spoken": spoken,
    }
    made.globals |= {"ROOT": ROOT, "duration": duration, "ENDED": ENDED, "AREAS": AREAS, "EXAMPLES": EXAMPLES}  # pyright: ignore[reportCallIssue, reportArgumentType]
    return made


def _kept(link: re.Match[str]) -> str:
    """Of a page that a guest sees, a link that leads on there; one that leads out of it goes nowhere, also in SVG."""
    to, inner = html.unescape(link[1]), link[2]
    return link[0] if to.startswith("#") or f"{SHARE}=" in to else f"<a>{inner}</a>"


@cache
def modules(script: str) -> tuple[str, ...]:
    """A module of `static/` and all that it imports, itself first; nothing where there is none of that name."""
    path = _STATIC / script
    if not path.is_file():
        return ()
    imported = [modules(one) for one in _IMPORT.findall(path.read_text())]
    return tuple(dict.fromkeys((script, *(one for each in imported for one in each))))


def _preloaded(text: str) -> str:
    """A page with links to the modules that it will need, which a browser would else find one behind the other."""
    scripts = ["studio.js", *(f"{one}.js" for one in _ELEMENT.findall(text))]
    needed = dict.fromkeys(one for script in scripts for one in modules(script))
    links = "".join(f'<link rel="modulepreload" href="{ROOT}/static/{one}">\n' for one in needed)
    return text.replace("</head>", f"{links}</head>", 1)


def page(name: str, visit: Visit | None, status: int = 200, **values: Any) -> HTMLResponse:
    """`values` are the template's; `visit` None: for somebody without a session."""
    text = templates().get_template(name).render(visit=visit, **values)
    if visit and visit.guest:
        text = _LINK.sub(_kept, text)
    content = _preloaded(text).encode(errors="replace")  # a file may have halves of surrogate pairs
    return HTMLResponse(content, status, HEADERS)
