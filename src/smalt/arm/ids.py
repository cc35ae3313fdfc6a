"""Resource ids: parsed once, compared without regard to case, written back with the service's own spelling.

Grammar: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
    /subscriptions/{s}[/resourceGroups/{g}][/providers/{p}/{type}/{name}[/{type}/{name}]…]
"""

from __future__ import annotations

from dataclasses import dataclass

ML = "Microsoft.MachineLearningServices"
RESOURCES = "Microsoft.Resources"
STORAGE = "Microsoft.Storage"
PROVIDERS = (ML, RESOURCES, STORAGE)  # all that have resources here
_SPELLING = {name.lower(): name for name in PROVIDERS}


class NotAnId(ValueError):
    """The text does not follow the grammar."""


@dataclass(frozen=True)
class ResourceId:
    """`path` holds (type, name) pairs below the provider; empty for a subscription or a resource group."""

    subscription: str
    group: str = ""
    provider: str = ""
    path: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> ResourceId:
        """Raises NotAnId. `azureml:` prefixes and slashes at the end are accepted, as clients send them."""
        segments = text.removeprefix("azureml:").strip("/").split("/")
        if len(segments) < 2 or segments[0].lower() != "subscriptions" or "" in segments:
            raise NotAnId(text)
        subscription, rest = segments[1], segments[2:]
        group = ""
        if len(rest) >= 2 and rest[0].lower() == "resourcegroups":
            group, rest = rest[1], rest[2:]
        if not rest:
            return cls(subscription, group)
        if rest[0].lower() == "deployments":  # the client leaves the provider of template deployments out
            rest = ["providers", RESOURCES, *rest]
        if rest[0].lower() != "providers" or len(rest) < 4 or len(rest) % 2:
            raise NotAnId(text)
        # Input(path="azureml:credit@latest") makes the SDK ask for data/azureml:credit
        pairs = tuple(
            (type_, name.removeprefix("azureml:")) for type_, name in zip(rest[2::2], rest[3::2], strict=True)
        )
        return cls(subscription, group, _SPELLING.get(rest[1].lower(), rest[1]), pairs)

    @property
    def kind(self) -> str:
        """The type's path, lowered: workspaces/jobs; `subscriptions` and `resourcegroups` above the provider."""
        if not self.path:
            return "resourcegroups" if self.group else "subscriptions"
        return "/".join(type_ for type_, _ in self.path).lower()

    @property
    def name(self) -> str:
        return self.path[-1][1] if self.path else self.group or self.subscription

    @property
    def parent(self) -> ResourceId:
        """The resource above; a workspace's is its resource group."""
        if len(self.path) > 1:
            return ResourceId(self.subscription, self.group, self.provider, self.path[:-1])
        if self.path:
            return ResourceId(self.subscription, self.group)
        return ResourceId(self.subscription)

    @property
    def ancestors(self) -> tuple[ResourceId, ...]:
        """All that it is in, up to the subscription."""
        if not self.path and not self.group:
            return ()
        return (self.parent, *self.parent.ancestors)

    @property
    def workspace(self) -> ResourceId:
        """The workspace that this is, or is in. Raises NotAnId elsewhere."""
        if not self.path or self.path[0][0].lower() != "workspaces":
            raise NotAnId(str(self))
        return ResourceId(self.subscription, self.group, self.provider, self.path[:1])

    @property
    def key(self) -> str:
        """What it is stored and compared under."""
        return str(self).lower()

    def child(self, type_: str, name: str) -> ResourceId:
        return ResourceId(self.subscription, self.group, self.provider or ML, (*self.path, (type_, name)))

    def ancestor(self, type_: str) -> str:
        """The name of the pair with this type, or ''."""
        return next((name for one, name in self.path if one.lower() == type_.lower()), "")

    def __str__(self) -> str:
        text = f"/subscriptions/{self.subscription}"
        if self.group:
            text += f"/resourceGroups/{self.group}"
        if self.path:
            text += f"/providers/{self.provider}" + "".join(f"/{type_}/{name}" for type_, name in self.path)
        return text


def workspace_id(subscription: str, group: str, name: str) -> ResourceId:
    return ResourceId(subscription, group, ML, (("workspaces", name),))
