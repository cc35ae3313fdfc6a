"""Microsoft's `az` as its users have it: an environment of its own, and a configuration folder of its own.

Kept beside the SDK's environments, so that only the first run pays for it. Nothing but this machine is reached: all that
would leave it goes to a proxy that notes the name and refuses.
"""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from live.clients import CLIENTS, clean_environment
from live.forked import Forked
from live.patience import PATIENCE_S
from smalt.cli.client_environment import install

AZURE_CLI = "2.91.0"
CONSTRAINTS = Path(__file__).with_name(f"constraints-azure-cli-{AZURE_CLI}.txt")
QUIET = {
    "AZURE_CORE_COLLECT_TELEMETRY": "no",
    "AZURE_CORE_SURVEY_MESSAGE": "no",
    "AZURE_CORE_LOGIN_EXPERIENCE_V2": "off",
    "AZURE_CORE_NO_COLOR": "yes",
    "AZURE_CORE_OUTPUT": "json",
    "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
}


def azure_cli_python() -> Path:
    """The Python of an environment with azure-cli, and with pip, which adds extensions; made where missing (a minute)."""
    return install(
        CLIENTS / f"azure-cli-{AZURE_CLI}",
        CLIENTS / "cache",
        clean_environment(),
        lambda text: print(text, file=sys.stderr),
        [f"azure-cli=={AZURE_CLI}", "pip"],
        CONSTRAINTS,
    )


@dataclass(frozen=True)
class AzureCli:
    """`az` with one configuration folder and the variables of one platform."""

    python: Path
    folder: Path
    variables: Mapping[str, str]

    @classmethod
    def new(cls, folder: Path, variables: Mapping[str, str]) -> AzureCli:
        """In a new configuration, which knows its version already: a first command asks Microsoft for a newer one."""
        folder.mkdir()
        (folder / "versionCheck.json").write_text(json.dumps({"versions": {"core": {"local": AZURE_CLI}}}))
        return cls(azure_cli_python(), folder, variables)

    def with_(self, **variables: str) -> AzureCli:
        """The same with other variables; '' takes one away."""
        kept = {name: value for name, value in {**self.variables, **variables}.items() if value}
        return replace(self, variables=kept)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The exit code is the caller's to check."""
        return subprocess.run(
            [str(self.python), "-Im", "azure.cli", *arguments],
            env=self._all_variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    @property
    def _all_variables(self) -> dict[str, str]:
        own = {"AZURE_CONFIG_DIR": str(self.folder), "AZURE_EXTENSION_DIR": str(self.folder / "extensions"), **QUIET}
        return {**clean_environment(), **own, **self.variables}

    def copied(self, prepare: str) -> Forked:
        """For many commands, which all import the same: `prepare` does."""
        return Forked(self.python, "azure.cli", prepare, self._all_variables, ["-I"], patience_s=PATIENCE_S)

    def __call__(self, *arguments: str) -> Any:
        """What it printed, parsed; None where that is nothing. Fails the test where it does not end well."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"az {arguments[0]} {arguments[1]} failed:\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, *arguments: str) -> str:
        """What it told on standard error. Fails the test where it ends well, or with a traceback."""
        done = self.run(*arguments)
        assert done.returncode != 0, f"az {arguments[0]} {arguments[1]} ended well:\n{done.stdout}"
        assert "Traceback" not in done.stderr and "ERROR: None" not in done.stderr, done.stderr
        return done.stderr


@contextmanager
def no_way_out() -> Iterator[tuple[dict[str, str], list[str]]]:
    """Variables that lead whatever would leave this machine to us, and the first lines of all that came."""
    came: list[str] = []

    class Refusal(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            came.append(self.rfile.readline().decode("latin-1").strip())
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        proxies = {name: address for one in names for name in (one, one.lower())}
        yield {**proxies, "NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost,127.0.0.1"}, came
        server.shutdown()
