"""Imports that are put off until somebody uses them.

`import mlflow.pyfunc` spends half of its seconds in `databricks.sdk`, of which it needs one exception class. A module
put off this way is in `sys.modules` with its real path, so that its submodules import as ever; its own code runs when
the first of its names is asked for.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any


class PostponedModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        """Called for names that are not there yet."""
        if name.startswith("__"):  # asked by the import system, which must not start it
            raise AttributeError(name)
        with self.__dict__["_postponed_lock"]:
            spec = self.__dict__.pop("_postponed_spec", None)
            if spec is not None:
                spec.loader.exec_module(self)
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def postpone(package: str) -> bool:
    """Puts the import of an installed package off; False where it is not installed or imported already."""
    if package in sys.modules:
        return False
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.loader is None or spec.submodule_search_locations is None:
        return False
    module = PostponedModule(package)
    module.__spec__ = spec
    module.__loader__ = spec.loader
    module.__file__ = spec.origin
    module.__package__ = package
    module.__path__ = list(spec.submodule_search_locations)
    module.__dict__["_postponed_spec"] = spec
    module.__dict__["_postponed_lock"] = threading.RLock()
    sys.modules[package] = module
    parent, _, child = package.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)
    return True
