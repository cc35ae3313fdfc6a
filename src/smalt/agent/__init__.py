"""What runs on a node around each user's process, in Smalt's own interpreter.

Standard library only, so that it starts in milliseconds and never collides with the user's packages. It imports nothing
of the server; the server imports only `agent.wire`.
"""
