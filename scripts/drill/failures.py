"""A drill on a platform of its own: two hundred jobs fail of three causes; they are found and run again by keyboard, in 60 s.

    .boot/bin/uv run python scripts/drill/failures.py [--of-each 67]

Prints how long the jobs took to fail, the keyboard, and the new ones to complete; the exit code is 1 where the keyboard
took longer than 60 s. Chromium is the machine's.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from live import failures
from live.platform import Platform, eventually

MOST_S = 60.0
_ALL_S = 1800.0  # two hundred jobs, on whatever machine
FLAGS = ["--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of-each", type=int, default=67, help="jobs of each of the three causes")
    told = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with (
        tempfile.TemporaryDirectory() as folder,
        Platform(Path(folder)).started() as platform,
        sync_playwright() as play,
    ):
        begun = time.monotonic()
        failures.fail(platform, told.of_each, _ALL_S)
        print(f"{3 * told.of_each} jobs had failed after {time.monotonic() - begun:.0f} s", flush=True)
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.set_default_timeout(1000 * MOST_S)
        page.goto(platform.login_link())
        took = failures.run_again_by_keyboard(page, f"{platform.url}/studio", told.of_each)
        print(f"found and run again by keyboard in {took:.1f} s (at most {MOST_S:.0f})", flush=True)
        begun = time.monotonic()
        eventually(lambda: failures.completed(platform) == 3 * told.of_each, "all of them to complete", _ALL_S, 1.0)
        print(f"the new ones had completed {time.monotonic() - begun:.0f} s later")
        browser.close()
    return 0 if took <= MOST_S else 1


if __name__ == "__main__":
    sys.exit(main())
