"""The main pages, as the bar of every page lists them. A template says of which it is one by `{% set area = … %}`."""

from __future__ import annotations

AREAS = (
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
            ("Settings", "/settings"),
        ),
    ),
)
