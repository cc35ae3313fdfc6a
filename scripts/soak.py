"""Servers killed at random moments under jobs of all sorts; agents killed, jobs canceled: and a look at what became of them.

    scripts/soak [--seeds 3] [--first SEED] [--jobs 200] [--minutes 10] [--two-servers | --database sqlite | postgresql]

Each seed is a run with servers, a database and a store of its own. A run that fails names its seed, and its folder stays.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live.platform import Platform
from live.postgres import Postgres, started
from live.servers import Pair, Servers
from live.soak import Soak
from smalt.config import LAYOUT


@contextmanager
def two(folder: Path, postgres: Postgres) -> Iterator[Servers]:
    with Pair(folder, postgres.create()).started() as pair:
        pair.warm()
        yield pair


@contextmanager
def one(folder: Path, postgres: Postgres | None) -> Iterator[Servers]:
    told = {"layout": LAYOUT, **({"database_url": postgres.create()} if postgres else {})}
    (folder / "config.json").write_text(json.dumps(told))
    with Platform(folder).started() as platform:
        assert platform.submit("warm", "true").status_code == 201
        platform.wait_for("warm", "Completed", timeout_s=240)
        servers = Servers.alone(platform)
        yield servers
        servers.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill servers and agents under jobs, and look what became of them.")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs (3)")
    parser.add_argument("--first", type=int, default=int(time.time()), help="the first seed; else the time")
    parser.add_argument("--jobs", type=int, default=200, help="jobs of each run (200)")
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long servers are killed at least (10)")
    parser.add_argument("--two-servers", action="store_true", help="on one PostgreSQL, killed in turn; else one server")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite", help="of the one server")
    told = parser.parse_args()
    failed: list[int] = []
    needs_postgres = told.two_servers or told.database == "postgresql"
    with started() if needs_postgres else nullcontext() as postgres:
        for seed in range(told.first, told.first + told.seeds):
            folder = Path(tempfile.mkdtemp(prefix=f"smalt-soak-{seed}-"))
            try:
                with two(folder, postgres) if told.two_servers and postgres else one(folder, postgres) as servers:
                    print(Soak(servers, seed, told.jobs, told.minutes * 60, patience_s=900).run(), flush=True)
            except Exception as error:
                failed.append(seed)
                print(f"seed {seed} failed, see {folder}: {type(error).__name__}: {error}", flush=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
