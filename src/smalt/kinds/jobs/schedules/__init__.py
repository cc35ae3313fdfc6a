"""Schedules: when (`arm/triggers.py`), what (`definition.py`), and the resource that submits it (`schedule.py`)."""
