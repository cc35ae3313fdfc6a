"""Every figure of docs/benchmarks.md in one go, each beside its target: what to run on a quiet machine.

    python bench/reach.py --azurite FOLDER --python PREFIX/bin/python [--only startup,submit] [--json FILE]

It only calls the scripts beside it, one after the other, and judges what they print. `--azurite` is where `npm install azurite`
ran, `--python` an interpreter with azureml-inference-server-http (without it one is made). The exit status is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import needs

HERE = Path(__file__).parent
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """`read` takes one number from what a script printed; `most` or `least` is the limit."""

    part: str
    what: str
    read: Callable[[Figures], float]
    most: float | None = None
    least: float | None = None

    def met(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


def _many(found: Figures) -> Figures:
    return next(value for name, value in found.items() if re.fullmatch(r"\d+ jobs", name))


TARGETS = (
    Target("startup", "`smalt up` on a new root, s", lambda found: found["up s"], most=1),
    Target("startup", "idle memory before MLflow is asked, MB", lambda found: found["rss without MLflow MB"], most=250),
    Target("startup", "idle memory once MLflow was asked, MB", lambda found: found["rss MB"], most=600),
    Target("startup", "idle server, % of a core", lambda found: found["idle server % of a core"], most=1),
    Target("reading", "GET of a job, p50 ms", lambda found: found["few jobs"]["GET a job"]["p50 ms"], most=5),
    Target("reading", "GET of a job among 100,000, p50 ms", lambda found: _many(found)["GET a job"]["p50 ms"], most=5),
    Target("reading", "list of 50 jobs of 100,000, p50 ms", lambda found: _many(found)["list 50 jobs"]["p50 ms"], most=30),
    Target("submit", "submit to the first line, ms", lambda found: found["first line ms"], most=1000),
    Target("submit", "of that ours, ms", lambda found: found["ours ms"], most=300),
    Target("environments", "cold build / uv pip install", lambda found: found["cold"], most=1.2),
    Target("environments", "the same environment again, ms", lambda found: found["again ms"], most=300),
    Target("deployment", "deployment to its first answer, s", lambda found: found["first answer s"], most=6),
    Target(
        "deployment", "requests/s / azureml-inference-server-http",
        lambda found: found["requests"]["smalt, Envoy + TLS + key"]["ratio"], least=1.5,
    ),
    Target("platform_blobs", "1 GiB up / Azurite", lambda found: found["ratio"]["up MiB/s"], least=2),
    Target("platform_blobs", "1 GiB down / Azurite", lambda found: found["ratio"]["down MiB/s"], least=2),
    Target("platform_blobs", "1 kB PUTs/s / Azurite", lambda found: found["ratio"]["1 kB PUTs/s"], least=3),
)  # fmt: skip


def run(part: str, options: argparse.Namespace) -> Figures:
    arguments = {
        "environments": ["--rounds", "3"],
        "deployment": ["--python", str(options.python)] if options.python else [],
        "platform_blobs": ["--azurite", str(options.azurite)],
    }.get(part, [])
    command = [sys.executable, str(HERE / f"{part}.py"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return _environments(done.stdout) if part == "environments" else json.loads(done.stdout)


def _environments(text: str) -> Figures:
    """That script prints for people."""
    ratios = re.findall(r"^(\w+)\s+wall.*ratio of medians ([\d.]+)", text, re.MULTILINE)
    (again,) = re.findall(r"built\(\):? ([\d.]+) ms", text)
    return {name: float(ratio) for name, ratio in ratios} | {"again ms": float(again)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--azurite", type=Path)
    parser.add_argument("--python", type=Path)
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    options = parser.parse_args()
    parts = options.only.split(",") if options.only else list(dict.fromkeys(one.part for one in TARGETS))
    if unknown := set(parts) - set(needs.ALL):
        parser.error(f"--only knows {', '.join(needs.ALL)}, not {', '.join(sorted(unknown))}")
    needs.check(parts, options.azurite, options.python)
    found: dict[str, Figures] = {}
    missed = 0
    for part in parts:
        found[part] = run(part, options)
        for target in (one for one in TARGETS if one.part == part):
            value = target.read(found[part])
            limit = f"≤ {target.most:g}" if target.most is not None else f"≥ {target.least:g}"
            missed += not target.met(value)
            word = "ok" if target.met(value) else "MISSED"
            print(f"{target.what:46} {value:10.2f}   {limit:8} {word:7} (load {os.getloadavg()[0]:.1f})", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
