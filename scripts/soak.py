"""Two servers on one PostgreSQL and one store, killed in turn at random moments under jobs of all sorts.

    scripts/soak [--seeds 3] [--first SEED] [--jobs 200] [--minutes 10]

Each seed is a run with servers, a database and a store of its own. A run that fails names its seed, and its folder stays.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live.postgres import started
from live.servers import Pair
from live.soak import Soak


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill two servers in turn under jobs, and look what became of them.")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs (3)")
    parser.add_argument("--first", type=int, default=int(time.time()), help="the first seed; else the time")
    parser.add_argument("--jobs", type=int, default=200, help="jobs of each run (200)")
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long servers are killed in each run (10)")
    told = parser.parse_args()
    failed: list[int] = []
    with started() as postgres:
        for seed in range(told.first, told.first + told.seeds):
            folder = Path(tempfile.mkdtemp(prefix=f"smalt-soak-{seed}-"))
            try:
                with Pair(folder, postgres.create()).started() as pair:
                    pair.warm()
                    print(Soak(pair, seed, told.jobs, told.minutes * 60, patience_s=600).run(), flush=True)
            except AssertionError as error:
                failed.append(seed)
                print(f"seed {seed} failed, see {folder}: {error}", flush=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
