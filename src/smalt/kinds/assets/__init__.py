"""What jobs and deployments use: data, models, code, environments, components, the datastores and connections behind
them. Every other plane may ask this one; it asks none.
"""
