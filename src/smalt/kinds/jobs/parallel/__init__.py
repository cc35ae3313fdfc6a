"""Parallel jobs, of the platform: what one may say, what an MLTable is, what its nodes are told, and what remains.

A parallel job is a command job whose command is a driver of ours (`smalt/agent/inject/parallel`), as `parallel` in its
properties says.
"""
