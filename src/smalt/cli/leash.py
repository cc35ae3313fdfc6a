"""Runs a command that dies with the process that started it: `leash.py PARENT_PID NICE DATA_BYTES COMMAND…`.

The supervisor starts all its children through this file, so that none survives a `kill -9` of the supervisor and holds
the port or a socket of the next `up`. It is a process of its own and not a `preexec_fn`, because the kernel ties
PR_SET_PDEATHSIG to the *thread* that forked, and Python code between fork and exec may deadlock. Standard library only:
it runs with `-I -S`, in about 10 ms, and is gone after `exec`.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, nice, data_bytes = map(int, arguments[:3])
    command = arguments[3:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the line above
        sys.exit("the supervisor is gone")
    os.nice(nice)
    if data_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; the command would inherit it
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
