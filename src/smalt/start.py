"""The server's process: `python -m smalt.start --root ROOT`.

Hundreds of modules are read before it answers, and all that they make stays: looking for what can be freed among that
would take a tenth of a start, and much of every later look.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    gc.disable()
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # its command line, which httpx goes without: rich
    from smalt.serve import main as serve

    serve()


if __name__ == "__main__":
    main()
