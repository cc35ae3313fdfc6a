"""Components: names, versions; of one its inputs and outputs, what it runs, and its YAML."""

from __future__ import annotations

from typing import Any

import yaml
from starlette.responses import Response

from smalt.store.document import Document, part
from smalt.studio.pages.assets import AssetType, described, named, version_at
from smalt.studio.rendering import page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

COMPONENTS = AssetType("components", "Components", "component", makes="New component")
_SHORT = ("$schema", "name", "version", "display_name", "description", "type", "inputs", "outputs", "command")


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    version = await version_at(visit, COMPONENTS)
    said = version["properties"]["componentSpec"]
    ordered = {name: said[name] for name in (*_SHORT, *said) if name in said}
    return page(
        "component.html",
        visit,
        cursor=cursor,
        **described(visit, COMPONENTS, version),
        type=said.get("type") or "",
        title=said.get("display_name") or "",
        command=said.get("command") or part(said, "task").get("program_arguments") or "",
        code=_asset(visit, said.get("code") or part(said, "task").get("code")),
        environment=_asset(visit, said.get("environment") or part(said, "task").get("environment")),
        inputs=_ports(said, "inputs"),
        outputs=_ports(said, "outputs"),
        steps=sorted(part(said, "jobs")),
        text=yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120),
    )


def _asset(visit: Visit, given: Any) -> tuple[str, str]:
    """Of a reference its title and the link to its page, empty where it has none."""
    text = str(given or "").removeprefix("azureml:")
    if not text.startswith("/subscriptions/"):
        return (text, "")
    title, to, what = named(visit, text)
    return title, to if what in ("environment", "data", "model") else ""


def _ports(said: Document, name: str) -> list[Document]:
    ports = part(said, name).items()
    return [
        {
            "name": port,
            "type": str(one.get("type") or ""),
            "optional": bool(one.get("optional")),
            "default": "" if one.get("default") is None else str(one["default"]),
            "description": str(one.get("description") or ""),
        }
        for port, one in ports
        if isinstance(one, dict)
    ]


ROUTES = (*COMPONENTS.routes, get("/components/{name}/{version}", show))
