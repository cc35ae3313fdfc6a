"""Which walls a task of this machine gets, and what the machine allows of what the settings ask for."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from smalt.agent import wire
from smalt.agent.start import python
from smalt.agent.walled import WALLS
from smalt.agent.wire import TaskSpec, WallsSpec
from smalt.arm.ports import Isolation
from smalt.engines.local.gpus import Gpu, machine_gpus
from smalt.engines.local.shown import showable
from smalt.settings import Settings

_LOG = logging.getLogger(__name__)
_TRIAL_TIMEOUT_S = 120  # it hangs nowhere; a machine that has much else to do may be slow
# A number for each workspace, of a range that no packaged system gives to people (systemd's for transient services).
# Two workspaces may meet at one number: what keeps them apart is that neither sees the other's files and processes.
_FIRST_USER, _USERS = 61184, 4096
_BUILDERS = "environments"  # in place of a workspace: as one who is nobody else runs what environments are built with
_AGAIN_S = 60.0  # what kept a trial from being made, such as a busy machine, may be over then
INJECTED = Path(wire.__file__).parent / "inject"


@dataclass(frozen=True)
class Trial:
    """What `smalt.agent.trial` found: `owners` where files can seem to be another user's. Not `made`: nothing yet."""

    walls: bool = False
    owners: bool = False
    network: bool = False
    files: bool = False
    reason: str = ""
    made: bool = True


class Walling:
    """`around` gives a task its walls; `isolation` is what they are worth."""

    def __init__(self, settings: Settings, own: Sequence[int] | None = None) -> None:
        """`own`: the GPUs of the machine that tasks have, which count them from zero; None: all."""
        self._settings, self._own = settings, own
        self._trying = threading.Lock()
        self._tried, self._again_at = Trial(made=False), 0.0

    @property
    def _trial(self) -> Trial:
        """Of whichever thread asks first; the others wait for it. One that could not be made is made again, later."""
        with self._trying:
            if not self._tried.made and time.monotonic() >= self._again_at:
                asked = self._settings.isolation
                self._tried = Trial() if asked == "off" else try_walls(self._settings.root, asked)
                self._again_at = time.monotonic() + _AGAIN_S
            return self._tried

    @functools.cached_property
    def _gpus(self) -> Sequence[Gpu]:
        return machine_gpus()

    def isolation(self) -> Isolation:
        asked, found = self._settings.isolation, self._trial
        if asked == "off":
            return Isolation("off", "It was switched off (smalt up --isolation off).")
        if asked == "network" and not found.network:
            return Isolation("none", f"This machine allows no networks of their own: {found.reason or 'refused'}.")
        if asked == "network" or (asked == "auto" and found.walls):
            return Isolation("network" if asked == "network" else "walls")
        if found.files:
            return Isolation(
                "files", f"Landlock alone: {found.reason}." if found.reason else "As asked: Landlock alone."
            )
        return Isolation("none", f"This machine allows neither namespaces nor Landlock: {found.reason}.")

    def around(self, task: TaskSpec) -> TaskSpec:
        """The task with its walls and its GPUs. The platform's own work has no workspace, and needs none.

        It is told the walls for what it runs of other people's code, such as the builds of source distributions.
        """
        task = self._with_gpus(task)
        level = self.isolation().level
        if level in ("off", "none"):
            return task
        settings = self._settings
        if not task.workspace:
            inner = WallsSpec(
                level="files" if level == "files" else "walls",  # with the network: packages come from there
                user=user_of(_BUILDERS) if self._trial.owners and level != "files" else 0,
                hidden=_hidden(settings),
                gpus=[],
            )
            return replace(task, variables={**task.variables, WALLS: json.dumps(asdict(inner))})
        minors = None if task.gpus is None else [self._gpus[one].minor for one in task.gpus if one < len(self._gpus)]
        return replace(
            task,
            walls=WallsSpec(
                level=level,
                port=settings.port,
                user=user_of(task.workspace) if self._trial.owners and level != "files" else 0,
                home=str(settings.home(task.workspace)),
                hostname=task.hostname or "localhost",
                hosts=[*task.hosts, settings.host] if level == "network" else task.hosts,
                addresses=task.addresses,
                readable=[str(settings.tls / "bundle.pem"), str(INJECTED)],
                shown=showable(settings),
                hidden=_hidden(settings),
                gpus=minors,
            ),
        )

    def _with_gpus(self, task: TaskSpec) -> TaskSpec:
        """By UUID, where the driver tells: an index counts anew inside of walls that hide a device."""
        if self._own is not None:
            asked = range(len(self._own)) if task.gpus is None else task.gpus
            task = replace(task, gpus=[self._own[one] for one in asked if one < len(self._own)])
        if task.gpus is None:
            return task
        known = [self._gpus[one].uuid for one in task.gpus if one < len(self._gpus)]
        named = known if all(known) and len(known) == len(task.gpus) else [str(one) for one in task.gpus]
        visible = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(named)}
        return replace(task, variables={**visible, **task.variables})


def _hidden(settings: Settings) -> list[str]:
    return [str(one) for one in (settings.root, settings.run, settings.blobs)]


def user_of(workspace: str) -> int:
    """The number of the user as whom a workspace's tasks run."""
    return _FIRST_USER + int.from_bytes(hashlib.sha256(workspace.encode()).digest()[:4], "big") % _USERS


def try_walls(root: Path, asked: str) -> Trial:
    """Whether walls stand here, tried with a folder of the root's file system. Some 0.1 s."""
    folder = Path(tempfile.mkdtemp(prefix=".walls-", dir=root))
    user = _FIRST_USER if os.geteuid() == 0 else 0
    try:
        ran = subprocess.run(
            [*python("trial"), str(folder), str(user), asked],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TRIAL_TIMEOUT_S,
            check=True,
        )
        trial = Trial(**json.loads(ran.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        trial = Trial(reason=f"the trial failed ({error})", made=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if trial.reason:
        _LOG.warning("isolation: %s", trial.reason)
    return trial
