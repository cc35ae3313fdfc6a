"""The beginning of a table (CSV, JSON lines, Parquet) and its profile, read by a process with limits of its own.

A file of a user's may be anything, so what parses it is neither this server nor unlimited: `runner.py` starts
`python -m smalt.studio.tables`, and reads for it what it asks for. Nothing of a file is written anywhere.
"""
