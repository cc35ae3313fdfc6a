"""Runs on Ray's side, as a Ray job: makes its cluster have the nodes that a compute wants, and ends.

This file's text is the job. It needs the standard library, Ray, and Smalt where nodes run. What is wanted is in
SMALT_WANTED, JSON by zlib in base64: {"namespace", "version", "folder", "isolation", "server", "ca", "nodes": [{"name",
"cpus", "gpus", "token"}]}.

A node is one detached placement group of one bundle and one detached actor in it, both named NAMESPACE/NAME. All that
was made once is found again by its name, so this may be run any number of times, and be killed anywhere.
"""

import base64
import contextlib
import fcntl
import importlib.metadata
import importlib.resources
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import traceback
import zlib
from pathlib import Path
from typing import BinaryIO

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

REVOKED = 3  # how `smalt node run` ends when the platform does not know the node any more
FIRST_S = 10.0  # for `smalt node run` to be connected, or to fail
AGAIN_S = 60.0  # a node that has run here before is tried for so long: what fails may be over soon
LAST_S = 60.0
PAUSE_S = 2.0
LOG_BYTES = 256 << 10  # of what services before have said


class Node:
    """Keeps `smalt node run` going on the Ray node where it is. What that runs outlives both.

    It is there once that is connected, or has not failed for a while. Raises RuntimeError, which ends the actor: Smalt
    is not there, is another version, or cannot be a node there.
    """

    def __init__(self, wanted: dict, node: dict) -> None:
        check_version(wanted["version"])
        self._name, self._group = node["name"], f"{wanted['namespace']}/{node['name']}"
        here = ray.get_runtime_context().get_node_id()[:12]  # another Ray node on this machine is another disk
        self._root = own_root(Path(wanted["folder"]).expanduser() / here, self._name)
        self._patience_s = AGAIN_S if (self._root / "incarnation").exists() else 0.0
        file = self._root.with_suffix(".json")
        file.touch(mode=0o600)
        told = {"server": wanted["server"], "name": node["name"], "token": node["token"], "ca": wanted["ca"]}
        file.write_text(json.dumps(told))
        self._command = command(file, self._root, wanted["isolation"])
        self._log = self._root.with_suffix(".log")
        self._said_from = 0  # where in the log the service that runs begins
        self._known, self._over = threading.Event(), threading.Event()
        self._lock, self._made, self._error = threading.Lock(), False, ""
        threading.Thread(target=self._keep, daemon=True).start()
        self._known.wait(self._patience_s + FIRST_S)
        with self._lock:
            self._made = not self._error
        if not self._made:
            raise RuntimeError(self._error)

    def end(self) -> None:
        """Once the platform has revoked the node, which ends what runs here."""
        self._over.wait(LAST_S)

    def _keep(self) -> None:
        """In the thread that starts it: the kernel ends what a thread has started with that thread.

        What it cannot do ends the process, which Ray starts again: without the thread it would seem to run for ever.
        """
        try:
            begun = time.monotonic()
            while self._run() != REVOKED:
                over = time.monotonic() - begun >= self._patience_s and not self._known.is_set()
                if over and self._fail(self._said()):
                    return
                time.sleep(PAUSE_S)
            self._leave()
        except Exception as error:
            traceback.print_exc()  # into Ray's log of this actor
            if not self._fail(f"{type(error).__name__}: {error}"):
                os._exit(1)

    def _fail(self, error: str) -> bool:
        """Whether `__init__` says it, which ends the actor; it does not once there is a node."""
        with self._lock:
            if self._made:
                return False
            self._error = error
        self._known.set()
        return True

    def _leave(self) -> None:
        try:
            give_back(self._root)
        finally:
            self._over.set()
            ray.util.remove_placement_group(ray.util.get_placement_group(self._group))  # this actor ends with it

    def _run(self) -> int:
        """Until it ends; how it did."""
        leash = str(importlib.resources.files("smalt.cli") / "leash.py")
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SMALT_"))}
        reading, writing = os.pipe()
        with os.fdopen(reading) as told, opened_log(self._log) as log:
            self._said_from = os.fstat(log.fileno()).st_size
            leashed = [sys.executable, "-I", "-S", leash, str(os.getpid()), "0", "0", *self._command]
            leashed += ["--notify-fd", str(writing)]
            try:
                process = subprocess.Popen(
                    leashed, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing]
                )
            finally:
                os.close(writing)
            if told.readline():
                self._known.set()
            return process.wait()

    def _said(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._said_from)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:1000] if lines else "smalt node run ended without a word"


def command(file: Path, root: Path, isolation: str) -> list[str]:
    run = [sys.executable, "-m", "smalt.cli", "node", "run", "--token-file", str(file), "--root", str(root)]
    return [*run, "--isolation", isolation, "--gpus", _gpus(), *_address()]


def opened_log(path: Path) -> BinaryIO:
    """To be gone on with. What services before have said is kept, as far as it is the last: why they ended."""
    log = path.open("a+b")
    size = log.tell()
    if size > LOG_BYTES:
        log.seek(size - LOG_BYTES // 2)
        last = log.read()
        log.truncate(0)
        log.write(last.partition(b"\n")[2])
    log.write(time.strftime("--- %Y-%m-%dT%H:%M:%SZ\n", time.gmtime()).encode())
    log.flush()
    return log


def unpacked(text: str) -> dict:
    return json.loads(zlib.decompress(base64.b64decode(text)))


def check_version(wanted: str) -> None:
    try:
        have = importlib.metadata.version("smalt")
    except importlib.metadata.PackageNotFoundError:
        raise RuntimeError(
            f"Smalt is not installed on Ray node {platform.node()} for {sys.executable}: install smalt[ray] {wanted}"
            " there, in the Python that Ray runs in."
        ) from None
    if have != wanted:
        raise RuntimeError(f"Ray node {platform.node()} has Smalt {have}, the platform {wanted}: install that there.")


def own_root(folder: Path, name: str) -> Path:
    """The folder of this node: the one that it had, one that another has given back, or a new one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        roots = sorted(one for one in folder.iterdir() if one.is_dir())
        owners = {one: owner.read_text() if (owner := one.with_suffix(".owner")).exists() else "" for one in roots}
        root = next((one for one in roots if owners[one] == name), None)
        root = root or next((one for one in roots if not owners[one]), folder / f"n{len(roots)}")
        root.mkdir(mode=0o700, exist_ok=True)
        if owners.get(root) != name:  # whoever is killed here is found again by it
            fresh = root.with_suffix(".owner.new")
            fresh.write_text(name)
            fresh.replace(root.with_suffix(".owner"))
    return root


def give_back(root: Path) -> None:
    """Nothing of what ran is left, and who comes next is another machine; environments stay."""
    for name in ("tasks", "incarnation"):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    root.with_suffix(".json").unlink(missing_ok=True)
    root.with_suffix(".owner").unlink(missing_ok=True)


def apply(wanted: dict) -> None:
    space, names = wanted["namespace"], {one["name"] for one in wanted["nodes"]}
    for id_, group in ray.util.placement_group_table().items():
        if group["name"].startswith(f"{space}/") and group["state"] != "REMOVED":
            name = group["name"].removeprefix(f"{space}/")
            if name not in names:
                print("end", name, flush=True)
                end(name, PlacementGroup(ray.PlacementGroupID.from_hex(id_)))
    for node in wanted["nodes"]:
        print("have", node["name"], flush=True)
        make(wanted, node)


def make(wanted: dict, node: dict) -> None:
    name = f"{wanted['namespace']}/{node['name']}"
    try:
        group = ray.util.get_placement_group(name)
    except ValueError:
        bundle = {"CPU": node["cpus"], **({"GPU": node["gpus"]} if node["gpus"] else {})}
        group = ray.util.placement_group([bundle], name=name, lifetime="detached")
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    actor = ray.remote(Node).options(
        name=node["name"],
        namespace=wanted["namespace"],
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=node["cpus"],
        num_gpus=node["gpus"],
        scheduling_strategy=strategy,
        runtime_env={"env_vars": {"SMALT_WANTED": "", "SMALT_BRIDGE": ""}},
    )
    actor.remote({key: value for key, value in wanted.items() if key != "nodes"}, node)


def _address() -> list[str]:
    """Ray's machines find this one where Ray does."""
    found = ray.util.get_node_ip_address()
    return [] if ":" in found else ["--address", found]


def _gpus() -> str:
    """Those that Ray has given to this actor: other nodes have the machine's others."""
    return ",".join(map(str, ray.get_runtime_context().get_accelerator_ids().get("GPU", ())))


def end(name: str, group: PlacementGroup) -> None:
    """A node that runs ends what it has first."""
    try:
        with contextlib.suppress(ValueError, RayError):
            if ray.util.placement_group_table(group)["state"] == "CREATED":
                ray.get(ray.get_actor(name).end.remote(), timeout=LAST_S)
    finally:
        ray.util.remove_placement_group(group)


if __name__ == "__main__":
    told = unpacked(os.environ["SMALT_WANTED"])
    ray.init(namespace=told["namespace"], log_to_driver=False)
    apply(told)
