"""One task from beginning to end: prepare, run, put everything in its place, and report each change."""

from __future__ import annotations

import os
import resource
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from smalt.agent import beside, mpi, old_sdk, ray, temporary_folder
from smalt.agent.artifacts import FOLDERS, collect_artifacts, link_artifacts
from smalt.agent.barrier import barrier
from smalt.agent.beneath import held
from smalt.agent.bounds import Bound, Ending, OverLimit, held_to
from smalt.agent.copying import copy_file, copy_tree
from smalt.agent.disk import DiskBound, written_bytes
from smalt.agent.documents import DocumentServer
from smalt.agent.door import Door
from smalt.agent.environ import base_environment, check_variables, inside_environment
from smalt.agent.failures import SetupError
from smalt.agent.folder import MARK_FILE, MARK_VARIABLE, Report, TaskFolder
from smalt.agent.foreman import Heard, Rank, shell_code
from smalt.agent.forward import Forwarder
from smalt.agent.inputs import prepare_inputs
from smalt.agent.journal import Journal, journal_at, open_log
from smalt.agent.kernels import put_kernels
from smalt.agent.landlock import Fence
from smalt.agent.limits import CGROUPS_FILE, Cgroups, make_cgroups
from smalt.agent.log_bound import BoundedLog
from smalt.agent.memory import MemoryBound
from smalt.agent.mounts import Namespace
from smalt.agent.outputs import finish_outputs, prepare_outputs, shown_outputs
from smalt.agent.overlay import jupyter_variables, make_overlay, see_run
from smalt.agent.parallel import prepare_parallel
from smalt.agent.pipes import USER_FOLDER, Pipes
from smalt.agent.processes import Brood, Command, StartError, descendants
from smalt.agent.ranks import RankSpec
from smalt.agent.render import UnknownReference, render
from smalt.agent.rlimits import rlimits
from smalt.agent.server import prepare_server
from smalt.agent.services import Services
from smalt.agent.supervisor import Interrupted, Interrupts, Supervisor, hold
from smalt.agent.verdict import judge, limits_of
from smalt.agent.walls import Walls
from smalt.agent.wire import CA_VARIABLES, LISTEN_VARIABLE, Outcome, Phase, Places, Ref, TaskSpec


class Attempt:
    """`run` returns when the task is EXITED, whatever happened on the way.

    `pipes`: where what its processes say is read, and where it is written.
    """

    def __init__(self, folder: TaskFolder, spec: TaskSpec, places: Places, pipes: Pipes) -> None:
        self._folder = folder
        self._spec = spec
        self._places = places
        self._home = folder.path
        self._own = folder.path / USER_FOLDER  # what the command may see of it
        self._pipes = pipes
        self._logs = [
            BoundedLog(said, partial(open_task_log, folder, spec, log, places), spec.log_most_bytes, end)
            for log, (said, _), end in zip(spec.logs, pipes.logs, pipes.ends, strict=True)
        ]
        system_log = places.path(spec.system_log) if spec.system_log else None
        self._journal = journal_at(system_log, places.store, self._home / "system.log")
        self._report = Report(folder, spec, places.address)
        self._brood = Brood()
        self._mounts = barrier(spec.walls, spec.limits.shm_bytes)
        self._cgroups = Cgroups([])
        named = ("work", "tmp", "outputs", "venv", "kernels")
        own = [*(self._own / name for name in named), temporary_folder.outside(folder)]
        self._disk = DiskBound(spec.limits, Path(), own, _written_bytes)
        self._services: Services | None = None
        self._begun = time.monotonic()

    def run(self) -> None:
        try:
            interrupts = Interrupts(self._folder, self._spec.grace_s)
            self._folder.reserve()
            self._folder.write(MARK_FILE, self._folder.mark)
            self._report.change(phase=Phase.PREPARING)
            self._run(interrupts)
        except Exception as error:  # the edge: nothing above could report it
            self._brood.end()
            self._journal.say(f"the agent itself failed: {error!r}")
            self._exit(Outcome.LOST, f"The agent of this task failed: {error!r}")

    def _run(self, interrupts: Interrupts) -> None:
        try:
            interrupts.break_off(allowed=True)
            with held_to(self._disk):
                command = self._prepare(interrupts)
            interrupts.break_off(allowed=False)
        except Interrupted:
            self._exit(*_stopped_early(interrupts))
            return
        except OverLimit as over:
            self._exit(over.ending.outcome, over.ending.reason)
            return
        except (SetupError, UnknownReference) as error:
            self._exit(Outcome.SETUP, str(error))
            return
        except OSError as error:
            self._exit(Outcome.SETUP, f"Preparing failed: {error.strerror or error}: {error.filename or ''}")
            return
        if interrupts.grace_s() is not None:
            self._exit(*_stopped_early(interrupts))
            return
        try:
            if not isinstance(self._mounts, Namespace):
                self._brood.first = self._mounts.raise_up()
            self._brood.start(command)
            self._open_doors(interrupts)
            self._let_in(command, interrupts)
        except (StartError, OSError) as error:
            self._brood.end()
            self._exit(Outcome.SETUP, str(error))
            return
        finally:
            self._pipes.close_writing()
        self._journal.say(f"command started, {time.monotonic() - self._begun:.3f} s after the task was accepted")
        self._report.change(phase=Phase.RUNNING, pid=self._brood.main, started_at=time.time())
        for log in self._logs:
            log.attend(interrupts.selector)
        heard, bounds = self._listen(interrupts), self._bounds()
        parts = (self._spec, self._brood, interrupts, self._report, self._journal, self._logs, bounds)
        ending = Supervisor(*parts).run()
        hold(self._spec, ending, self._brood, interrupts, self._report, self._journal, bounds)
        self._finish(ending, heard)

    def _prepare(self, interrupts: Interrupts) -> Command:
        spec, places, journal = self._spec, self._places, self._journal
        problem = check_variables(spec.variables)
        if problem:
            raise SetupError(problem)
        work = self._own / "work"
        work.mkdir(parents=True)
        temporary = temporary_folder.make(self._folder, isinstance(self._mounts, Walls), ray.MOST if spec.ray else 60)
        if spec.code:
            with journal.stage("code copied"):
                _copy_code(places.path(spec.code), work, journal, places.store)
        ca_bundle = spec.variables.get("SSL_CERT_FILE", places.ca_bundle)
        inputs = prepare_inputs(spec.inputs, places, self._own / "inputs", self._mounts, journal, ca_bundle)
        outputs = prepare_outputs(spec.outputs, places, self._own / "outputs", walled=spec.walls is not None)
        if spec.artifacts:
            link_artifacts(work, places.path(spec.artifacts), places.store)
        argv, own = spec.argv or _bash(render(spec.command, inputs, outputs)), dict[str, str]()
        if spec.parallel:
            argv = prepare_parallel(spec.parallel, spec.outputs, inputs, outputs, self._own)
        if places.address.path:
            Path(places.address.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if spec.mpi:
            argv, own = mpi.prepare(spec.mpi, self._own / mpi.FOLDER, work, argv[-1], isinstance(self._mounts, Walls))
        if spec.server:
            with journal.stage("model put in place"):
                argv, own = prepare_server(spec.server, places, self._own, self._mounts, journal, outputs)
        environment = base_environment(os.environ, temporary, self._folder.mark)
        if spec.walls:
            environment |= inside_environment(os.environ, spec.walls.home, self._mounts.temporary or str(temporary))
        environment |= {f"AZURE_ML_INPUT_{name}": value for name, value in inputs.items()}
        environment |= {f"AZURE_ML_OUTPUT_{name}": value for name, value in outputs.items()}
        environment |= dict.fromkeys(CA_VARIABLES, places.ca_bundle) if places.ca_bundle else {}
        environment |= own | spec.variables
        if places.address:
            environment[LISTEN_VARIABLE] = places.address
        self._serve_documents(environment, interrupts)
        environment[MARK_VARIABLE] = self._folder.mark
        if spec.environment:
            self._put_environment_first(environment)
        self._limit()
        for log in self._logs:
            log.open()
        enter = None if isinstance(self._mounts, Namespace) else self._wall_in(self._mounts, temporary)
        bounds = rlimits(spec, self._cgroups.bound_processes)
        groups = self._cgroups.entrances
        ranks = [] if spec.mpi else self._ranks(environment, lambda command: render(command, inputs, outputs))
        log, report = self._pipes.logs[-1][1], self._pipes.report[1] if self._pipes.report else -1
        return Command(
            argv,
            environment,
            str(work),
            log,
            groups,
            not self._mounts.active,
            enter,
            bounds,
            mpi.order(spec.mpi) if spec.mpi else None,
            ranks,
            report,
            spec.grace_s,
        )

    def _ranks(self, environment: dict[str, str], rendered: Callable[[str], str]) -> list[Rank]:
        """What a foreman starts; nothing where the command is one process."""
        spec, logs = self._spec, self._pipes.logs

        def argv(one: RankSpec) -> list[str]:
            own = one.argv or _bash(rendered(spec.command))
            return ray.argv(spec.ray, one, own) if spec.ray else own

        return [
            Rank(argv(one), environment | one.variables, logs[number][1], one.serves)
            for number, one in enumerate(spec.ranks)
        ]

    def _listen(self, interrupts: Interrupts) -> Heard:
        """To the foreman, where there is one."""
        heard = Heard(len(self._spec.ranks), lambda: self._report.change(done=True))
        if self._pipes.report:
            heard.attend(self._pipes.report[0], interrupts.selector)
        return heard

    def _open_doors(self, interrupts: Interrupts) -> None:
        walls = self._spec.walls
        if walls and isinstance(self._mounts, Walls) and (doors := self._mounts.doors()):
            Forwarder(doors, ("127.0.0.1", walls.port), interrupts.selector)

    def _let_in(self, command: Command, interrupts: Interrupts) -> None:
        """Into a job's walls, not those of what builds or serves."""
        if not self._spec.workspace or self._spec.listens:
            return
        walls = None if isinstance(self._mounts, Namespace) else self._mounts
        if walls:
            walls.remember()
        self._brood.staying = self._spec.hold_s > 0

        def join() -> Callable[[], None] | None:
            return walls.join(command.folder) if walls else None

        log_folder = next(one for one in (self._own / "tmp", temporary_folder.outside(self._folder)) if one.is_dir())
        self._services = Services(
            self._spec.services,
            self._brood.pids,
            partial(beside.start, command, join),
            partial(beside.has, command),
            log_folder,
            lambda states: self._report.change(services=states),
            lambda: self._brood.main,
        )
        try:
            Door(self._folder, command, join, interrupts.selector, self._services.address)
        except OSError as error:
            self._journal.say(f"nobody can connect to this job: {error}")

    def _wall_in(self, walls: Walls | Fence, temporary: Path) -> Callable[[str], Callable[[], None]]:
        """Show the command what it works on, at the paths that it has outside, and its temporary folder as `/tmp`."""
        spec = self._spec
        assert spec.walls
        walls.show(self._own, writable=True)
        if spec.walls.home:
            Path(spec.walls.home).mkdir(mode=0o700, parents=True, exist_ok=True)
            walls.show(Path(spec.walls.home), writable=True)
        for one in shown_outputs(spec.outputs, self._places):
            walls.show(one, writable=True, base=self._places.store)
        if spec.artifacts:
            artifacts = self._places.path(spec.artifacts)
            for name in FOLDERS:
                walls.show(artifacts / name, writable=True, base=self._places.store)
        if self._places.address.path:
            walls.show(Path(self._places.address.path).parent, writable=True)
        walls.show_temporary(temporary)
        return walls.enter

    def _serve_documents(self, environment: dict[str, str], interrupts: Interrupts) -> None:
        """Variables that are the address of a document at the platform become the agent's own."""
        documents = self._spec.documents
        names = [name for name, value in environment.items() if value in documents]
        if not names or (self._spec.walls and self._spec.walls.level == "network"):
            return
        try:
            server = DocumentServer(documents, interrupts.selector)
        except OSError as error:  # the platform has them too
            self._journal.say(f"the agent serves no documents: {error}")
            return
        environment |= {name: server.address(environment[name]) for name in names}

    def _put_environment_first(self, environment: dict[str, str]) -> None:
        shared = Path(self._places.environment)
        with self._journal.stage("environment put in place"):
            binaries = make_overlay(shared, self._own / "venv")
            if not self._spec.server:
                see_run(binaries.parent)
            if not self._mounts.bind_read_only(shared, shared):
                self._journal.say(f"the environment is not write-protected: {self._mounts.refused}")
            if not isinstance(self._mounts, Namespace):
                self._mounts.show_interpreter(shared / "bin" / "python")
                self._mounts.show_interpreter((binaries / "python").readlink())
        environment["VIRTUAL_ENV"] = str(binaries.parent)
        environment |= jupyter_variables(shared) | environment
        if (kernels := self._spec.kernels) and (others := self._places.kernels):
            environment |= put_kernels(kernels, others, self._own, self._mounts, environment, self._journal)
        environment["PATH"] = f"{binaries}:{environment['PATH']}"
        environment.pop("PYTHONHOME", None)

    def _limit(self) -> None:
        self._cgroups, missing = make_cgroups(self._spec.limits, self._spec.processes_most, self._folder.mark)
        if self._cgroups.folders:
            self._folder.write(CGROUPS_FILE, "\n".join(map(str, self._cgroups.folders)))
        if missing:
            self._journal.say(missing)
        self._journal.say(limits_of(self._spec, self._cgroups))

    def _bounds(self) -> list[Bound]:
        """What the kernel does not see to."""
        bounds: list[Bound] = [self._disk, *([self._services] if self._services else [])]
        if self._spec.limits.memory_bytes and not self._cgroups.bound_memory:
            bounds.append(MemoryBound(self._spec.limits, self._brood.pids))
        return bounds

    def _finish(self, ending: Ending, heard: Heard) -> None:
        """The command has ended: end what it left behind, then store what it made."""
        heard.read()
        failed, status = heard.failed or (None, self._brood.status or 0)
        exit_code = os.waitstatus_to_exitcode(status)
        self._report.change(phase=Phase.FINALIZING, ready=False, rank=failed)
        self._brood.end()
        number = len(self._logs) - 1 if failed is None else failed
        command = (shlex.join(self._spec.ranks[failed].argv) if failed is not None else "") or self._spec.command
        remarks = old_sdk.hints if exit_code else None
        last = [log.finish(remarks) for log in self._logs][number]
        told = replace(self._spec, log=self._spec.logs[number], command=command)
        outcome, error = judge(told, ending, exit_code, last, self._cgroups)
        self._journal.say(f"command ended: {outcome}, exit code {shell_code(status)}")
        try:
            spec, places, work = self._spec, self._places, self._own / "work"
            finish_outputs(spec.outputs, places, self._own / "outputs", work, self._journal, bool(spec.walls))
            if spec.artifacts:
                collect_artifacts(work, places.path(spec.artifacts), self._journal, places.store)
        except (SetupError, OSError) as problem:
            self._journal.say(str(problem))
            if outcome is Outcome.EXITED and exit_code == 0:
                outcome, error = Outcome.SETUP, str(problem)
        self._exit(outcome, error, shell_code(status))

    def _exit(self, outcome: Outcome, error: str, exit_code: int | None = None) -> None:
        self._cgroups.remove()
        temporary_folder.remove(temporary_folder.outside(self._folder))
        if error:
            self._journal.say(f"{outcome}: {error.splitlines()[0]}")
        self._report.change(
            phase=Phase.EXITED,
            outcome=outcome,
            error=error,
            exit_code=exit_code,
            ready=False,
            ended_at=time.time(),
            peak_memory_bytes=_peak_memory_bytes() if self._brood.main else 0,
        )
        # Nobody waits for this any more. By its relative name: the task may be removed by now, another in its place.
        temporary_folder.remove(Path(USER_FOLDER, "tmp"))


def open_task_log(folder: TaskFolder, spec: TaskSpec, log: Ref | None, places: Places) -> int:
    """The file of one of its logs, which receives what a process says. Raises OSError.

    What has no artifacts is a build, for example: its log is shown among those of the jobs that wait for it, by a link.
    """
    if not log:
        return open_log(folder.path / "log")
    return open_log(places.path(log), places.store, shared=not spec.artifacts)


def _bash(command: str) -> list[str]:
    return ["bash", "-c", command]


def _written_bytes() -> int:
    """By this process and all that descends from it."""
    return written_bytes([os.getpid(), *(pid for pid, _ in descendants(os.getpid(), zombies=True))])


def _stopped_early(interrupts: Interrupts) -> tuple[Outcome, str]:
    if interrupts.shutdown:
        return Outcome.LOST, "The agent of this task was ended (SIGTERM) before its command started."
    return Outcome.STOPPED, "The task was stopped before its command started."


def _copy_code(code: Path, work: Path, journal: Journal, base: str) -> None:
    try:
        with held(code, base) as opened:
            if code.is_dir():
                copy_tree(opened, work, lambda what: journal.say(f"code without {what}"))
            else:
                copy_file(opened, work / code.name)
    except FileNotFoundError as error:
        raise SetupError(f"The code of this job is gone: nothing is at {code}. Submit it again.") from error


def _peak_memory_bytes() -> int:
    """Of the largest process that ran. A cgroup's own figure counts cached files too, which misleads more."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
