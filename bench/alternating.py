"""reach.py of two commits, in turns: what the second has made slower, on whatever machine.

    .boot/bin/uv run python bench/alternating.py BEFORE AFTER [--rounds 7] [--only startup,submit] [-- options of reach.py]

Each commit has a checkout and an environment of its own (by the `uv` that runs this), below a folder that is removed.
Prints, for each figure that both have, the medians, their ratio and the spread (the greater standard deviation of the two).
The exit status is 1 where one is worse by more than 5 % and by more than twice the spread, or is not measured any more.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORSE = 0.05  # is nothing yet
_LINE = re.compile(r"(?P<what>\S.*?) {2,}(?P<value>[\d.]+) +(?P<better>[≤≥])")
Figures = Mapping[str, tuple[float, str]]  # the value, and ≤ where less is better


def checkout(commit: str, folder: Path) -> Path:
    """With its environment. Raises CalledProcessError."""
    subprocess.run(["git", "worktree", "add", "-q", "--detach", folder, commit], cwd=ROOT, check=True)
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".boot/bin/uv")
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([uv, "sync", "-q", "--all-extras"], cwd=folder, env=environment, check=True)
    return folder


def one_round(folder: Path, options: Sequence[str]) -> Figures:
    """What reach.py of that checkout prints. It may miss targets; a part that fails raises SystemExit."""
    done = subprocess.run(
        [folder / ".venv/bin/python", folder / "bench/reach.py", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {one["what"]: (float(one["value"]), one["better"]) for one in _LINE.finditer(done.stdout)}
    if not found:
        raise SystemExit(f"reach.py of {folder.name} printed no figure:\n{done.stdout}{done.stderr[-2000:]}")
    return found


def judged(what: str, better: str, before: Sequence[float], after: Sequence[float]) -> tuple[str, bool]:
    """A line of the table, and whether that figure is worse."""
    first, second = statistics.median(before), statistics.median(after)
    spread = max(statistics.pstdev(before), statistics.pstdev(after))
    loss = second - first if better == "≤" else first - second
    worse = loss > WORSE * first and loss > 2 * spread
    ratio = f"{second / first:.2f}" if first else "-"
    return f"{what:46} {first:10.2f} {second:10.2f} {ratio:>6} ±{spread:<8.2f} {'WORSE' if worse else 'ok'}", worse


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs=2, metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="startup,submit")
    told, more = parser.parse_known_args()
    if told.rounds < 3:
        parser.error("--rounds is at least 3: of fewer there is no spread")
    options = ["--only", told.only, *(one for one in more if one != "--")]
    with tempfile.TemporaryDirectory(prefix="alternating-") as place:
        folders = [Path(place) / name for name in ("before", "after")]
        try:
            for commit, folder in zip(told.commits, folders, strict=True):
                checkout(commit, folder)
            rounds: tuple[list[Figures], list[Figures]] = ([], [])
            for at in range(told.rounds):
                for folder, into in zip(folders, rounds, strict=True):
                    into.append(one_round(folder, options))
                print(f"round {at + 1} of {told.rounds} (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)
        finally:
            for folder in folders:
                subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=False)
    worse = False
    for what, (_, better) in rounds[1][0].items():
        values = [[one[what][0] for one in side if what in one] for side in rounds]
        if all(values):
            line, is_worse = judged(what, better, *values)
            worse |= is_worse
            print(line)
    for what in sorted(rounds[0][0].keys() ^ rounds[1][0].keys()):
        print(f"{what:46} is a figure of one of the two alone: a part of reach.py failed, or is new")
        worse |= what in rounds[0][0]
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
