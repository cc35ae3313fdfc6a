"""The table of `docs/compatibility.md`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from compatibility.verdicts import RESULTS, Verdict

_HEAD = """# The public examples

What the examples of Azure's own repository (`Azure/azureml-examples`) do with the unmodified client ({client}) against
this platform. Written by

    eval "$(smalt env)"
    python scripts/compatibility.py --examples CHECKOUT --list LIST.csv --write docs/compatibility.md

"Unmodified" means: after upstream's own placeholders are filled in, and with a stand-in for data that lies on the
internet (`scripts/compatibility/standins.py`). What upstream's set-up scripts leave in a workspace is made first
(`scripts/compatibility/fixtures.py`). *works* is, for a job, Completed with its log downloaded; for a deployment, the
answer to upstream's sample request, of a batch deployment what its job wrote, downloaded; for a notebook, all cells; for all
else created, read back and compared, listed, archived or deleted. *not yet* was submitted too, and was refused with a clear
error. *not confirmed* was refused before, and has not come to its end since what it needs is there: the seconds are those of
the refusal. *upstream* is an error of the example's own, with the reason.

{counts}

| path | kind | result | seconds |
|---|---|---|---|
"""


def write_report(path: Path, verdicts: list[Verdict], order: list[str], client: str) -> None:
    """One line a row, in the list's `order`; rows that were not run now keep the line that the file has."""
    known = {one.path: one for one in (*_read(path), *verdicts)}
    verdicts = [known[one] for one in order if one in known]
    counted = Counter(one.result.split(":")[0] for one in verdicts)
    counts = ", ".join(f"{counted[name]} {name}" for name in RESULTS if counted[name])
    lines = [f"| {one.path} | {one.kind} | {one.result} | {one.seconds:.1f} |\n" for one in verdicts]
    path.write_text(_HEAD.format(client=client, counts=f"{len(verdicts)} rows: {counts}.") + "".join(lines))


def _read(path: Path) -> list[Verdict]:
    lines = path.read_text().splitlines() if path.exists() else []
    cells = [
        re.split(r" (?<!\\)\| ", line.removeprefix("| ").removesuffix(" |")) for line in lines if line.startswith("| ")
    ]
    return [Verdict(row[0], row[1], row[2], float(row[3])) for row in cells if len(row) == 4 and "/" in row[0]]
