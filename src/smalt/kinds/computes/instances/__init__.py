"""Compute instances, which run JupyterLab.

What may be asked (`settings.py`), their life (`life.py`), what runs (`task.py`), when (`times.py`, `idle.py`).
"""
