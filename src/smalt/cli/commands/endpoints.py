"""`smalt endpoint history` and `smalt endpoint rollback`: what changed beside what it did, and the way back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from smalt.cli.api import Document, opened
from smalt.cli.root import CliError

_LOOK_S = 0.25
_WIDE = 100


def history(root: Path | None, name: str, minutes: int, workspace: str, as_json: bool) -> int:
    with opened(root, workspace) as api:
        found = api.get(f"onlineEndpoints/{quote(name, safe='')}/history", timespan=f"PT{minutes}M")
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(lines(found)))
    return 0


def rollback(root: Path | None, name: str, deployment: str, workspace: str, as_json: bool) -> int:
    with opened(root, workspace) as api:
        asked = {"deployment": deployment} if deployment else {}
        found = api.send("POST", f"onlineEndpoints/{quote(name, safe='')}/rollback", asked)
        while (state := api.get(found["id"])["properties"])["provisioningState"] not in ("Succeeded", "Failed"):
            time.sleep(_LOOK_S)
    if state["provisioningState"] == "Failed":
        raise CliError(f"what was before did not come up again, and what is live stays: read the logs of {found['id']}")
    if as_json:
        print(json.dumps(found))
    else:
        print(f"The change of {found['undone']} is undone: {'; '.join(found['change']) or 'nothing that is served'}")
    return 0


def lines(found: Document) -> Iterator[str]:
    """One for each minute in which something was answered, and for each change, as they followed each other."""
    rows = [(one["at"], 0, _minute(one)) for one in found["minutes"]]
    rows += [(one["at"], 1, _change(one)) for one in found["value"]]
    yield f"{'time':8}  {'requests':>8}  {'5xx':>5}  {'p50 ms':>8}  {'p99 ms':>8}  change"
    if not rows:
        yield "Nothing was answered or changed."
    for at, _, text in sorted(rows):
        yield f"{at[11:19]}  {text}"


def _minute(one: Document) -> str:
    p50, p99 = ("" if one[name] is None else f"{one[name]:.1f}" for name in ("p50", "p99"))
    return f"{one['requests']:8.0f}  {one['failed']:5.0f}  {p50:>8}  {p99:>8}"


def _change(one: Document) -> str:
    what = f"deployment {one['deployment']}" if "deployment" in one else "endpoint"
    by = f" by {one['by']}" if one.get("by") else ""
    said = f": {'; '.join(_short(line) for line in one['change'])}" if one["change"] else ""
    return f"{'':8}  {'':5}  {'':8}  {'':8}  {what} {one['what']}{by}{said}"


def _short(line: str) -> str:
    return line if len(line) <= _WIDE else f"{line[:_WIDE]}…"
