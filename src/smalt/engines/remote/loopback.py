"""Whose loopback is whose: of two machines that say 127.0.0.1 neither may be the other's.

A node that reaches the platform through a tunnel (`ssh -L`), or is a container, has a loopback of its own.
"""

from __future__ import annotations

from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")  # random, of each start of a kernel: no two machines have the same
_NETWORK = Path("/proc/self/ns/net")


def loopback_id() -> str:
    """The same for all who share this process's loopback, and for nobody else. Empty where the system does not say."""
    try:
        return f"{_BOOT.read_text().strip()}/{_NETWORK.readlink()}"
    except OSError:
        return ""
