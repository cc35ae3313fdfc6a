"""The Ray cluster that `smalt up` is told."""

from __future__ import annotations

from smalt.settings import Settings


def ray_lacks(settings: Settings) -> list[str]:
    """What is wrong with it now: a line. No reason not to start: jobs of its clusters wait for it."""
    if not settings.ray:
        return []
    # Here, as what asks Ray over HTTP is nothing that a start without Ray should import.
    from smalt.arm.errors import ArmError
    from smalt.engines.ray.dashboard import Dashboard
    from smalt.engines.ray.provider import token_of

    try:
        with Dashboard(settings.ray, token_of(settings)) as dashboard:
            dashboard.check()
    except ArmError as error:
        return [f"ray: {error.message} Until then jobs of clusters on it wait."]
    return []
