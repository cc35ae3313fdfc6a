"""The Ray cluster that `smalt up` is told: another's, or one whose head it starts."""

from __future__ import annotations

from importlib.util import find_spec

from smalt.cli.root import CliError
from smalt.settings import LOCAL_RAY, Settings


def check_ray(settings: Settings) -> None:
    """Raises CliError where a head is wanted here and cannot be."""
    if settings.ray == LOCAL_RAY and not all(find_spec(one) for one in ("ray", "aiohttp_cors")):
        raise CliError(
            f"--ray {LOCAL_RAY}: Ray with its dashboard is not installed beside Smalt: pip install 'smalt[ray]',"
            " or name a dashboard, http://HOST:8265."
        )


def ray_lacks(settings: Settings) -> list[str]:
    """What is wrong with it now: a line. No reason not to start: jobs of its clusters wait for it."""
    if not settings.ray or settings.ray == LOCAL_RAY:  # a head that only starts
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
