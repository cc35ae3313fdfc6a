"""The main pages, as the bar of every page lists them. A template says of which it is one by `{% set area = … %}`."""

from __future__ import annotations

AREAS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("", (("Home", "/"),)),
    ("Work", (("Jobs", "/jobs"), ("Schedules", "/schedules"))),
    (
        "Assets",
        (
            ("Data", "/data"),
            ("Models", "/models"),
            ("Environments", "/environments"),
            ("Components", "/components"),
            ("Datastores", "/datastores"),
        ),
    ),
    (
        "Serving",
        (
            ("Endpoints", "/endpoints"),
            ("Batch endpoints", "/batch-endpoints"),
            ("Alerts", "/alerts"),
        ),
    ),
    ("Machines", (("Computes", "/computes"),)),
    (
        "Workspace",
        (
            ("Connect", "/connect"),
            ("Activity", "/activity"),
            ("Shared links", "/shared-links"),
            ("Settings", "/settings"),
        ),
    ),
)


def area_of(path: str) -> tuple[str, str]:
    """Name and path of the main page that `path`, below the Studio's root, belongs to; two empty texts for none."""
    first = "/" + path.lstrip("/").partition("/")[0]
    return next((one for _, pages in AREAS for one in pages if one[1] == first and first != "/"), ("", ""))
