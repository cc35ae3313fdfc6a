"""The inference server: what Smalt puts into a deployment's own interpreter, and nothing more.

It runs under any CPython from 3.8 on, needs only the standard library, imports nothing else of Smalt (relative imports
only, so that `serve.py` can load the folder under a private name) and adds no module name to the user's path.
"""
