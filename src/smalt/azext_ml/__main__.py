"""`python -m azext_ml …`, where `smalt ml` needs azure-ai-ml and has it in an environment of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .login import connected
from .terminal import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], lambda: connected(os.environ), "smalt", Path(sys.prefix)))
