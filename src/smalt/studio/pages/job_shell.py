"""Into a job that runs, or is held: its terminal in the browser, and how an editor of one's own gets there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.arm import services
from smalt.store.document import Document, part
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS
from smalt.studio.routes import get
from smalt.studio.visit import Visit

OPEN = ("Running", "Finalizing")  # states in which there is something to come into
NODES = 16  # that are shown
_KEY = "~/.ssh/id_ed25519"


async def terminal(visit: Visit) -> Response:
    """`?node=N`: to the terminal's own origin, by a link that opens once. Who may not write the job is refused."""
    node = visit.http.query_params.get("node") or "0"
    if not (node.isascii() and node.isdigit() and len(node) < 10):
        raise Refused(400, "InvalidNode", f"A job's nodes are 0, 1, …; not {node[:40]!r}.")
    name = visit.http.path_params["name"]
    found = await visit.api.read_secrets(f"/connect/v1{visit.workspace}/jobs/{name}/nodes/{node}/terminal")
    return RedirectResponse(str(found["url"]), 303, HEADERS)


def ways_in(visit: Visit, document: Mapping[str, Any]) -> Document | None:
    """Of a command job that is there to come into: a link for each node, and what VS Code needs."""
    properties, name = document["properties"], str(document["name"])
    if properties.get("jobType") != "Command" or properties.get("status") not in OPEN:
        return None
    nodes = int(part(properties, "resources").get("instanceCount") or 1)
    page = f"/jobs/{quote(name)}/terminal"
    asked = {services.type_of(one): one for one in part(properties, "services").values() if isinstance(one, dict)}
    return {
        "terminals": [visit.link(page, node=str(one) if one else None) for one in range(min(nodes, NODES))],
        "nodes": nodes,
        "editor": asked.get(services.VSCODE),
        "ssh": _ssh(visit, name) if services.SSH in asked else None,
    }


def _ssh(visit: Visit, name: str) -> Document:
    """Lines for a shell and for `~/.ssh/config`, of the job's first node."""
    workspace = visit.workspace
    named = {"--name": name, "--workspace-name": workspace.name, "--resource-group": workspace.group}
    words = ["az", "ml", "job", "connect-ssh", *(word for pair in named.items() for word in pair)]
    proxy = shlex.join(["smalt", "ssh-proxy", name, "--workspace", workspace.name]).replace("%", "%%")
    host = f"smalt-{name}"
    config = [f"Host {host}", "  User smalt", f"  IdentityFile {_KEY}", f"  ProxyCommand {proxy}"]
    return {
        "az": f"{shlex.join(words)} --private-key-file-path {_KEY}",
        "config": "\n".join(config),
        "code": shlex.join(["code", "--remote", f"ssh-remote+{host}"]),
    }


ROUTES = (get("/jobs/{name}/terminal", terminal),)
