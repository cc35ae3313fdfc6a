"""The file that a deployment's process starts: `python .../inject/serve.py --socket PATH --config config.json`.

With `--collect` it is the process beside it that writes what is collected (`collecting.py`).

Python puts the folder of the started file first on `sys.path`; there our modules would hide the user's modules of the
same names. So the folder leaves the path, and is loaded as a package under a name of its own.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "_smalt_inject"


def load_package(folder: str) -> None:
    location = Path(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location(PACKAGE, location, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise SystemExit("the inference server cannot be loaded from " + folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    load_package(str(here))
    role = "collecting" if sys.argv[1:] == ["--collect"] else "process"
    importlib.import_module(f"{PACKAGE}.{role}").main()
