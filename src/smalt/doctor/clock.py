"""The clock: certificates and tokens hold from one time to another."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from smalt.doctor import syscalls
from smalt.doctor.finding import Finding, none, ok, warn
from smalt.doctor.machine import Machine, as_root

LOOKED_S = 0.05
SLACK_S = 60.0  # what a file may be ahead of the clock
_UNSTEADY = 0.1  # of what passed by the other clock; a virtual machine that was paused has more
_REMEDY = "timedatectl set-ntp true"


def clock(machine: Machine) -> Finding:
    known = (Path(__file__), machine.settings.root / "config.json", machine.settings.tls / "ca.pem")
    return clock_found(known, time.time, time.monotonic, time.sleep)


def clock_found(
    known: tuple[Path, ...],
    wall: Callable[[], float],
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> Finding:
    """Whether it goes forward as the machine's own count does, and is not before files that exist already."""
    newest = max((one.stat().st_mtime for one in known if one.exists()), default=0.0)
    now, count = wall(), monotonic()
    sleep(LOOKED_S)
    passed, counted = wall() - now, monotonic() - count
    shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + " UTC"
    if now < newest - SLACK_S:
        means = "certificates and tokens made before are not valid yet"
        return warn(f"{shown}: before Smalt's own files were written", means, as_root(_REMEDY))
    if abs(passed - counted) > _UNSTEADY * counted + 0.005:
        means = "tokens end too early or too late, and times in logs are wrong"
        return warn(f"{shown}: it was set by {passed - counted:+.2f} s just now", means, as_root(_REMEDY))
    return ok(f"{shown}, and it goes steadily")


def synchronised(_machine: Machine) -> Finding:
    return synchronised_found(syscalls.clock_error_us)


def synchronised_found(error_us: Callable[[], int | None]) -> Finding:
    """By the kernel's word, which whatever sets the clock (chrony, systemd-timesyncd) tells it."""
    means = "clients on other machines may refuse, or be refused, for tokens from the future"
    try:
        error = error_us()
    except OSError as refused:
        return none(f"cannot be asked ({refused.strerror})", means, "timedatectl")
    if error is None:
        return warn("nothing keeps the clock synchronised", means, as_root(_REMEDY))
    return ok(f"within {error / 1000:.0f} ms at most")
