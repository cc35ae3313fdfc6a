"""`smalt services`: the services of a job that runs, with links that open them; and the tunnel for ssh."""

from __future__ import annotations

import json
import shlex
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smalt.azext_ml import tunnel
from smalt.cli.api import opened
from smalt.cli.root import CliError


def run(root: Path | None, job: str, workspace: str, node: int, as_json: bool) -> int:
    with opened(root, workspace) as api:
        found: dict[str, dict[str, Any]] = api.get(f"/history/v1.0{api.workspace}/runs/{job}/serviceinstances/{node}")[
            "instances"
        ]
        for name, one in found.items():
            if one["status"] == "Running" and one["type"] != "SSH":
                path = f"/connect/v1{api.workspace}/jobs/{job}/nodes/{node}/services/{quote(name, safe='')}"
                one["link"] = api.send("POST", path)["url"]
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    if not found:
        print(f"job '{job}' has no services on node {node}")
    for name, one in found.items():
        error = ((one.get("error") or {}).get("error") or {}).get("message")
        ssh = ssh_line(root, job, workspace, node) if one["type"] == "SSH" else ""
        more = (one.get("link") or ssh) if one["status"] == "Running" else error or ""
        print(f"{name}  {one['type']}  {one['status']}  {more}".rstrip())
    return 0


def ssh_line(root: Path | None, job: str, workspace: str, node: int) -> str:
    """What opens this very job from any folder, for people to paste into a shell."""
    words = ["smalt", "ssh-proxy", job, "--node", str(node), "--workspace", workspace]
    words += ["--root", str(root.resolve())] if root else []
    return shlex.join(["ssh", "-o", f"ProxyCommand={shlex.join(words).replace('%', '%%')}", job])


def proxy(root: Path | None, job: str, workspace: str, node: int) -> int:
    """Standard input and output are the two ends of the tunnel."""
    with opened(root, workspace) as api:
        url = f"{api.settings.url}/connect/v1{api.workspace}/jobs/{job}/nodes/{node}/ssh"
        token = api.headers["Authorization"].removeprefix("Bearer ")
        context: ssl.SSLContext = api.context
    try:
        tunnel.run(url, token, context)
    except tunnel.TunnelError as error:
        raise CliError(str(error), 255) from error
    return 0
