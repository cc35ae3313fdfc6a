"""The file that a node's agent starts: `python …/inject/parallel/start.py run CONFIG`.

Python puts the folder of the started file first on `sys.path`; there our modules would hide the user's of the same
names. So the folder leaves the path, and is loaded as a package under a name of its own.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "_smalt_parallel"


def load_package(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"the driver of parallel jobs cannot be loaded from {folder}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    load_package(here)
    importlib.import_module(PACKAGE + ".driver").main()
