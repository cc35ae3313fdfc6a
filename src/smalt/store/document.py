"""JSON as all layers call it: what rows hold and what is sent. Alone, so that who needs no database imports none."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]
