"""The kinds there are, found by scanning a package once."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from smalt.arm.kind import CLEANUP, CONTROL, SERVING, Kind
from smalt.store.claims import Lane


class Kinds(Mapping[str, Kind]):
    """Kinds by their lowered path."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._by_key: dict[str, Kind] = {}
        for kind in kinds:
            if kind.key in self._by_key:
                raise ValueError(f"two kinds at {kind.path}")
            self._by_key[kind.key] = kind

    @classmethod
    def scan(cls, package: ModuleType) -> Kinds:
        """Every `KIND` and `KINDS` of the package's modules."""
        found: list[Kind] = []
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            loaded = importlib.import_module(module.name)
            if hasattr(loaded, "KIND"):
                found.append(loaded.KIND)
            found.extend(getattr(loaded, "KINDS", ()))
        return cls(found)

    def __getitem__(self, key: str) -> Kind:
        return self._by_key[key.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def lanes(self) -> dict[str, Lane]:
        """Which rows the workers of each lane take."""
        reconciled = [kind for kind in self.values() if kind.reconcile is not None]
        serving = frozenset(kind.key for kind in reconciled if kind.lane == SERVING)
        others = frozenset(kind.key for kind in reconciled) - serving
        return {SERVING: Lane(serving), CONTROL: Lane(others, deleting=False), CLEANUP: Lane(others, deleting=True)}

    def reconciled(self) -> list[str]:
        return [kind.key for kind in self.values() if kind.reconcile is not None]
