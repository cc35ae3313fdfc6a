"""What to say of a task: its limits when it starts, and how it ended, to people who want to know what to change."""

from __future__ import annotations

import re
import resource
import signal
from pathlib import Path

from smalt.agent import old_sdk
from smalt.agent.bounds import Ending, words
from smalt.agent.limits import Cgroups
from smalt.agent.memory import too_much_memory
from smalt.agent.rlimits import counts_processes, open_files
from smalt.agent.wire import Outcome, TaskSpec

_WITH_TAIL = (Outcome.EXITED, Outcome.OUT_OF_MEMORY, Outcome.OUT_OF_DISK)
_NO_FILES = re.compile(r"Too many open files|EMFILE")
_NO_PROCESSES = re.compile(r"Resource temporarily unavailable|can't start new thread|EAGAIN")
_FILE_TOO_LARGE = re.compile(r"File too large|EFBIG|File size limit exceeded")
_NO_SPACE = re.compile(r"No space left on device|ENOSPC")


def limits_of(spec: TaskSpec, cgroups: Cgroups) -> str:
    """One line for the system log: what the task may use, and who sees to it where that is not the kernel."""
    limits = spec.limits
    told = [f"CPU weight {limits.cpu_weight}"]
    if limits.memory_bytes:
        told.append(f"memory {words(limits.memory_bytes)}{'' if cgroups.bound_memory else ' (the agent looks)'}")
    if limits.disk_bytes:
        told.append(f"disk {words(limits.disk_bytes)}")
    if _has_shm_of_its_own(spec):
        told.append(f"/dev/shm {words(limits.shm_bytes)}")
    if cgroups.bound_processes:
        told.append(f"{spec.processes_most} processes and threads")
    elif counts_processes(spec):
        told.append(f"{spec.processes_most} processes and threads of the whole workspace")
    told += [f"{open_files(spec)[0]} open files a process", f"log {words(spec.log_most_bytes)}"]
    return "limits: " + ", ".join(told)


def judge(spec: TaskSpec, ending: Ending, exit_code: int, last: str, cgroups: Cgroups) -> tuple[Outcome, str]:
    """How the task ended, and in words why. `exit_code` as in subprocess, `last` the last lines of its log."""
    if ending.outcome is not Outcome.EXITED or ending.reason:
        return ending.outcome, f"{ending.reason}\n{last}" if ending.outcome in _WITH_TAIL else ending.reason
    if exit_code == 0:
        return Outcome.EXITED, ""
    if cgroups.memory_kills():
        return Outcome.OUT_OF_MEMORY, f"{too_much_memory(spec.limits)}\n{last}"
    hints = [*_hints(spec, exit_code, last, cgroups), *old_sdk.hints(last)]
    return Outcome.EXITED, explain_exit(spec, exit_code, "\n".join([*hints, last]).strip())


def _hints(spec: TaskSpec, exit_code: int, last: str, cgroups: Cgroups) -> list[str]:
    """Which limits a command has met that did not end it."""
    limits, found = spec.limits, list[str]()
    most = f"{spec.processes_most} processes and threads"
    if cgroups.refused_processes():
        found.append(f"It had {most}, as many as a task may have, and got no more; start fewer at a time.")
    elif counts_processes(spec) and not cgroups.bound_processes and _NO_PROCESSES.search(last):
        found.append(f"The tasks of its workspace may have {most} together on this machine; start fewer at a time.")
    if _NO_FILES.search(last):
        soft, hard = open_files(spec)
        found.append(f"A process may have {soft} files open (RLIMIT_NOFILE). {_more_files(soft, hard)}")
    large = exit_code in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ) or _FILE_TOO_LARGE.search(last)
    if limits.disk_bytes and large:
        found.append(f"No file may be larger than its node's disk ({words(limits.disk_bytes)}). {limits.more}".rstrip())
    bus = exit_code in (-signal.SIGBUS, 128 + signal.SIGBUS)
    full = _NO_SPACE.search(last) is not None
    if _has_shm_of_its_own(spec) and (bus or full):
        what = "What it wrote to is full: the disk, or" if full else "It may have filled"
        more = limits.more if spec.server else "shm_size in the job's resources changes that, up to its node's memory."
        found.append(f"{what} /dev/shm, which holds {words(limits.shm_bytes)} here. {more}".rstrip())
    elif full:
        found.append("The disk that it wrote to is full: free space there, or write less.")
    return found


def _more_files(soft: int, hard: int) -> str:
    if soft == hard:
        return "The platform has no more itself: start it with a higher hard limit (ulimit -n, LimitNOFILE)."
    return f"`ulimit -n` in its command gets it {'more' if hard == resource.RLIM_INFINITY else f'up to {hard}'}."


def _has_shm_of_its_own(spec: TaskSpec) -> bool:
    return spec.limits.shm_bytes > 0 and spec.walls is not None and spec.walls.level != "files"


def explain_exit(spec: TaskSpec, exit_code: int, last: str) -> str:
    """What to tell the user of a command that ended by itself; empty for success. -n is signal n, as in subprocess."""
    if exit_code == 0:
        return ""
    how = f"exited with status code {exit_code}"
    if exit_code < 0:
        how = f"was ended by signal {-exit_code} ({_signal_name(-exit_code)})"
    name = "log"
    if spec.log:
        log = Path(spec.log.name)
        name = f"{'system_logs' if log.parent.name == 'system_logs' else 'user_logs'}/{log.name}"
    text = f"Execution failed. User process '{program(spec)}' {how}. "
    text += f"Please check log file '{name}' for error details."
    return f"{text} Error: {last}" if last else text


def _signal_name(number: int) -> str:
    if number in set(signal.Signals):
        return signal.Signals(number).name
    return f"SIGRTMIN+{number - signal.SIGRTMIN}"  # of the real-time signals only the first and the last have names


def program(spec: TaskSpec) -> str:
    """The name of what runs: the first word of a simple command, `bash` for anything else."""
    if spec.server:
        return "python"
    if spec.parallel:
        return spec.parallel.script or "mlflow"
    if spec.argv:
        return Path(spec.argv[0]).name
    words = [word for word in spec.command.split() if not re.match(r"\w+=", word)]
    bare = re.sub(r"\$\{\{.*?\}\}|'[^']*'|\"[^\"]*\"", "", spec.command.strip())
    if not words or re.search(r"[;&|\n(){}`]", bare):
        return "bash"
    return words[0].rpartition("/")[2]
