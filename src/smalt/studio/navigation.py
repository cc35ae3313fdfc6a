"""The main pages, as the bar of every page lists them. A template says of which it is one by `{% set area = … %}`."""

from __future__ import annotations

AREAS = (
    ("", (("Home", "/"),)),
    ("Work", (("Jobs", "/jobs"), ("Schedules", "/schedules"))),
    ("Serving", (("Endpoints", "/endpoints"),)),
)
