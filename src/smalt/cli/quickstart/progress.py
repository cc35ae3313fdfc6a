"""Prints the steps of a script with their seconds; on a terminal the current one counts while it runs."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

ERASE = "\r\033[2K"


class Progress:
    """`with progress.step("what happens"): …`, as often as `steps` says."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.number = 0
        self.began = time.perf_counter()
        self.animated = sys.stdout.isatty()

    @contextmanager
    def step(self, what: str, counting: bool = True) -> Iterator[None]:
        """`counting=False` for a step that prints lines of its own."""
        self.number += 1
        label = f"[{self.number}/{self.steps}] {what}"
        began, done = time.perf_counter(), threading.Event()
        counter = threading.Thread(target=self._count, args=(label, began, done), daemon=True)
        if counting and self.animated:
            counter.start()
        else:
            print(f"{label} …", flush=True)
        good = False
        try:
            yield
            good = True
        finally:
            done.set()
            if counter.ident:
                counter.join()
            seconds = time.perf_counter() - began
            before = ERASE if counter.ident else ""
            print(f"{before}{'✓' if good else '✗'} {label}: {seconds:.1f} s", flush=True)

    def say(self, text: str) -> None:
        """A line of result, between steps."""
        print(f"      {text}", flush=True)

    def total_s(self) -> float:
        return time.perf_counter() - self.began

    def _count(self, label: str, began: float, done: threading.Event) -> None:
        while not done.wait(0.2):
            print(f"{ERASE}  {label} … {time.perf_counter() - began:.0f} s", end="", flush=True)
