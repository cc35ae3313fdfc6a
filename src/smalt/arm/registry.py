"""The kinds there are, found by scanning a package once."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from smalt.arm.errors import ArmError
from smalt.arm.ids import GROUPS, RESOURCES, SUBSCRIPTIONS, ResourceId, Scope, Segment, kind_key
from smalt.arm.kind import BULK, CLEANUP, CONTROL, SERVING, TELLING, Kind
from smalt.store.claims import Lane

_FRAME = frozenset(kind_key(RESOURCES, one) for one in (SUBSCRIPTIONS, GROUPS))  # above all providers


class Kinds(Mapping[str, Kind]):
    """Kinds by their key (`kind_key`): two providers may each have a type of one name."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._by_key: dict[str, Kind] = {}
        for kind in kinds:
            if kind.key in self._by_key:
                raise ValueError(f"two kinds at {kind.qualified}")
            self._by_key[kind.key] = kind
        self.namespaces = {kind.provider.lower(): kind.provider for kind in self._by_key.values()}

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

    def find(self, provider: str, path: str) -> Kind | None:
        """The kind of a type, None where the provider has none of the name."""
        kind = self._by_key.get(kind_key(provider, path))
        return kind if kind is not None and kind.provider.lower() == provider.lower() else None

    def at(self, id_: ResourceId) -> Kind:
        """The kind of a resource.

        Raises ArmError(404) where a provider or a type is not known, here or above, or not at this scope.
        """
        for depth in range(1, len(id_.segments)):
            self._known(ResourceId(id_.subscription, id_.group, id_.segments[:depth]))
        return self._known(id_)

    def below(self, id_: ResourceId, type_: str) -> Kind | None:
        """The kind of a collection, None where there is none. Raises ArmError(404) as `at`."""
        kind = self.find(*id_.type_below(type_))
        if kind is not None and id_.holder.segments:
            self.at(id_.holder)
        return kind

    def no_type(self, provider: str, path: str) -> ArmError:
        """The answer about a type that is not known: 404, and whether its provider is."""
        namespace = self.namespaces.get(provider.lower())
        if namespace is None:
            message = f"The resource namespace '{provider[:200]}' is invalid: it is not known here."
            return ArmError(404, "InvalidResourceNamespace", message, target=provider[:200])
        message = f"The resource type '{path[:200]}' could not be found in the namespace '{namespace}'."
        return ArmError(404, "InvalidResourceType", message, target=path[:200])

    def spelled(self, id_: ResourceId) -> ResourceId:
        """The id with providers and types in the service's own spelling."""
        return ResourceId(id_.subscription, id_.group, tuple(map(self._spelled, id_.segments)))

    def lanes(self) -> dict[str, Lane]:
        """Which rows the workers of each lane take."""
        reconciled = [kind for kind in self.values() if kind.reconcile is not None]
        own = {lane: frozenset(one.key for one in reconciled if one.lane == lane) for lane in (SERVING, BULK, TELLING)}
        others = frozenset(kind.key for kind in reconciled).difference(*own.values())
        lanes = {lane: Lane(keys) for lane, keys in own.items()}
        return lanes | {CONTROL: Lane(others, deleting=False), CLEANUP: Lane(others, deleting=True)}

    def by_the_clock(self) -> list[str]:
        return [kind.key for kind in self.values() if kind.by_the_clock]

    def reconciled(self) -> list[str]:
        return [kind.key for kind in self.values() if kind.reconcile is not None]

    def _known(self, id_: ResourceId) -> Kind:
        provider, path = id_.type
        if id_.provider and id_.provider.lower() not in self.namespaces:
            raise self.no_type(id_.provider, path)
        kind = self.find(provider, path)
        if kind is None or (kind.key in _FRAME and id_.segments):
            raise self.no_type(provider, path)
        if id_.segments and kind.scopes and id_.scope not in kind.scopes:
            where = " or ".join(sorted(scope.value for scope in kind.scopes))
            if id_.scope is Scope.RESOURCE:
                message = f"A {kind.title} extends no other resource; it is in a {where}."
            else:
                message = f"A {kind.title} is in a {where}, not in a {id_.scope.value}: {id_}."
            raise ArmError(404, "InvalidResourceType", message, target=path[:200])
        return kind

    def _spelled(self, segment: Segment) -> Segment:
        pairs: list[tuple[str, str]] = []
        for at, (type_, name) in enumerate(segment.pairs):
            kind = self.find(segment.provider, "/".join(one for one, _ in segment.pairs[: at + 1]))
            pairs.append((kind.type if kind else type_, name))
        return Segment(self.namespaces.get(segment.provider.lower(), segment.provider), tuple(pairs))
