"""Resource ids: parsed once, compared without regard to case, written back with the service's own spelling.

Grammar: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules and, for resources that
extend others, …/management/extension-resource-types
    [/subscriptions/{s}[/resourceGroups/{g}]](/providers/{p}(/{type}/{name})+)*[/providers/{p}]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

ML = "Microsoft.MachineLearningServices"
RESOURCES = "Microsoft.Resources"
STORAGE = "Microsoft.Storage"
SUBSCRIPTIONS, GROUPS, TENANTS, PROVIDERS = "subscriptions", "resourceGroups", "tenants", "providers"
HOMES = ("workspaces", "registries")  # what assets are in
_SPELLING = {name.lower(): name for name in (ML, RESOURCES, STORAGE)}
# Types of other providers that rows were made of before there was more than one: those rows go on to be found.
_SHORT = {
    f"{provider}/{path}".lower(): path.lower()
    for provider, path in (
        (RESOURCES, SUBSCRIPTIONS),
        (RESOURCES, GROUPS),
        (RESOURCES, "deployments"),
        (STORAGE, "storageAccounts"),
    )
}


class NotAnId(ValueError):
    """The text does not follow the grammar."""


class Scope(Enum):
    """What a resource hangs on."""

    TENANT = "tenant"
    SUBSCRIPTION = "subscription"
    GROUP = "resource group"
    RESOURCE = "resource"  # any other resource, which it extends


def kind_key(provider: str, path: str) -> str:
    """What a type is stored and found under: `provider/path` in lower case; the path alone for those of ML."""
    if provider.lower() == ML.lower():
        return path.lower()
    key = f"{provider}/{path}".lower()
    return _SHORT.get(key, key)


@dataclass(frozen=True)
class Segment:
    """A provider and what follows it: (type, name) pairs. Without pairs it is the provider itself, of its scope."""

    provider: str
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        return "/".join(type_ for type_, _ in self.pairs)

    def __str__(self) -> str:
        return f"/providers/{self.provider}" + "".join(f"/{type_}/{name}" for type_, name in self.pairs)


@dataclass(frozen=True)
class ResourceId:
    """Without segments: a resource group, a subscription, or the tenant, whose id is empty.

    The first segment is in one of those; each further one extends the resource that stands before it.
    """

    subscription: str = ""
    group: str = ""
    segments: tuple[Segment, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ResourceId:
        """Raises NotAnId. `azureml:` prefixes and slashes at the end are accepted, as clients send them."""
        words = text.removeprefix("azureml:").strip("/").split("/")
        if "" in words:
            raise NotAnId(text)
        subscription = group = ""
        at = 0
        if words[0].lower() == SUBSCRIPTIONS and len(words) > 1:
            subscription, at = words[1], 2
            if len(words) > 3 and words[2].lower() == GROUPS.lower():
                group, at = words[3], 4
            if words[at : at + 1] and words[at].lower() == "deployments":  # clients leave their provider out
                words[at:at] = ["providers", RESOURCES]
        segments = tuple(_segments(words, at))
        if not subscription and not segments:
            raise NotAnId(text)
        return cls(subscription, group, segments)

    @property
    def provider(self) -> str:
        """That of the resource; '' for a group, a subscription and the tenant."""
        return self.segments[-1].provider if self.segments else ""

    @property
    def path(self) -> tuple[tuple[str, str], ...]:
        """(type, name) pairs below the provider."""
        return self.segments[-1].pairs if self.segments else ()

    @property
    def type(self) -> tuple[str, str]:
        """Provider and path of the type, as written: (Microsoft.MachineLearningServices, workspaces/jobs)."""
        if self.path:
            return self.provider, self.segments[-1].path
        if self.segments:
            return RESOURCES, PROVIDERS
        return RESOURCES, GROUPS if self.group else SUBSCRIPTIONS if self.subscription else TENANTS

    @property
    def kind(self) -> str:
        """The type as rows have it (`kind_key`): workspaces/jobs, subscriptions, resourcegroups."""
        return kind_key(*self.type)

    def type_below(self, type_: str) -> tuple[str, str]:
        """Provider and path of what is below this under the name `type_`."""
        if self.path:
            return self.provider, f"{self.segments[-1].path}/{type_}"
        return self.provider or RESOURCES, type_

    @property
    def scope(self) -> Scope:
        """What the resource, with all that its provider put above it, hangs on."""
        if len(self.segments) > 1:
            return Scope.RESOURCE
        if self.group:
            return Scope.GROUP if self.segments else Scope.SUBSCRIPTION
        return Scope.SUBSCRIPTION if self.subscription and self.segments else Scope.TENANT

    @property
    def name(self) -> str:
        return self.path[-1][1] if self.path else self.provider or self.group or self.subscription

    @property
    def parent(self) -> ResourceId:
        """The resource above; a workspace's is its resource group. The tenant is its own."""
        if self.segments:
            provider, pairs = self.provider, self.path
            kept = (Segment(provider, pairs[:-1]),) if len(pairs) > 1 else ()
            return ResourceId(self.subscription, self.group, (*self.segments[:-1], *kept))
        return ResourceId(self.subscription) if self.group else TENANT

    @property
    def holder(self) -> ResourceId:
        """What holds the collections below this: a provider's are its scope's."""
        return self.parent if self.segments and not self.path else self

    @property
    def ancestors(self) -> tuple[ResourceId, ...]:
        """All that it is in, up to the subscription: the tenant holds everything and has no row."""
        above = self.parent
        return () if above == TENANT else (above, *above.ancestors)

    @property
    def home(self) -> ResourceId:
        """The workspace or registry that this is, or is in: an asset's home. Raises NotAnId elsewhere."""
        first = self.segments[0] if self.segments else Segment("")
        if first.provider != ML or not first.pairs or first.pairs[0][0].lower() not in HOMES:
            raise NotAnId(str(self))
        return ResourceId(self.subscription, self.group, (Segment(ML, first.pairs[:1]),))

    @property
    def workspace(self) -> ResourceId:
        """The workspace that this is, or is in. Raises NotAnId elsewhere."""
        home = self.home
        if home.kind != "workspaces":
            raise NotAnId(str(self))
        return home

    @property
    def key(self) -> str:
        """What it is stored and compared under."""
        return str(self).lower()

    def child(self, type_: str, name: str) -> ResourceId:
        """Of the same provider; in a group, a subscription or the tenant: of ML."""
        last = Segment(self.provider or ML, (*self.path, (type_, name)))
        return ResourceId(self.subscription, self.group, (*self.segments[:-1], last))

    def extension(self, provider: str, type_: str, name: str) -> ResourceId:
        """What hangs on this, whatever it is."""
        return ResourceId(
            self.subscription, self.group, (*self.segments, Segment(_spelled(provider), ((type_, name),)))
        )

    def ancestor(self, type_: str) -> str:
        """The name of the pair with this type, or ''."""
        pairs = (pair for segment in self.segments for pair in segment.pairs)
        return next((name for one, name in pairs if one.lower() == type_.lower()), "")

    def __str__(self) -> str:
        text = f"/subscriptions/{self.subscription}" if self.subscription else ""
        if self.group:
            text += f"/resourceGroups/{self.group}"
        return text + "".join(map(str, self.segments))


TENANT = ResourceId()


def workspace_id(subscription: str, group: str, name: str) -> ResourceId:
    return ResourceId(subscription, group, (Segment(ML, (("workspaces", name),)),))


def _spelled(provider: str) -> str:
    return _SPELLING.get(provider.lower(), provider)


def _segments(words: Sequence[str], at: int) -> Iterator[Segment]:
    """Those from `words[at]` on. Raises NotAnId."""
    while at < len(words):
        if words[at].lower() != PROVIDERS or at + 1 == len(words):
            raise NotAnId("/".join(words))
        provider, begin = _spelled(words[at + 1]), at + 2
        at = begin
        while at < len(words) and (at == begin or words[at].lower() != PROVIDERS):
            at += 2
        if at > len(words):
            raise NotAnId("/".join(words))
        pairs = zip(words[begin:at:2], words[begin + 1 : at : 2], strict=True)
        # Input(path="azureml:credit@latest") makes the SDK ask for data/azureml:credit
        yield Segment(
            provider, tuple((type_, name.removeprefix("azureml:") if provider == ML else name) for type_, name in pairs)
        )
