"""OpenLineage's events of jobs, told to a file or a URL from the durable feed.

https://openlineage.io/spec/2-0-2/OpenLineage.json
"""
