"""Workspaces with what stands beside them, and what is above: groups, subscriptions, providers, templates."""
