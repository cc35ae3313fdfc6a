"""What the nodes of a parallel job are told when an attempt begins: all that was not known before is read now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from smalt.agent.parallel_spec import ParallelSpec
from smalt.agent.wire import InputSpec, OutputSpec
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs import peers
from smalt.kinds.jobs.parallel import tables
from smalt.kinds.jobs.parallel.settings import MODEL, PARALLEL, check_nodes, task_type
from smalt.kinds.jobs.ranks import HOST
from smalt.kinds.jobs.status import JobStatus
from smalt.sched.sizes import SIZES
from smalt.store.document import part
from smalt.store.resources import Row

_COPIED = ("download", "eval_download")


@dataclass(frozen=True)
class Driven:
    """`spec` without what each node has of its own: `slots`, its worker processes. `inputs` and `outputs` in place of
    the job's own.
    """

    spec: ParallelSpec
    slots: list[int]
    inputs: list[InputSpec]
    outputs: list[OutputSpec]

    def node(self, rank: int) -> ParallelSpec:
        return replace(self.spec, settings={**self.spec.settings, "rank": rank, "slots": self.slots[rank]})


def driven(
    platform: Platform,
    row: Row,
    status: JobStatus,
    uses: Document,
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
) -> Driven | None:
    """None: the job is no parallel one. Raises ArmError(400) for a table that cannot be read, and for lone nodes."""
    said = part(row.properties, PARALLEL)
    if not said:
        return None
    name, append_to, model = str(said["inputData"]), str(said.get("appendRowTo") or ""), str(said.get("model") or "")
    keys = [str(one) for one in said.get("partitionKeys") or ()]
    table = _table(platform, row, name, Place(**uses["inputs"][name]["place"]), keys)
    spec = ParallelSpec(
        "" if task_type(said) == MODEL else str(said["entryScript"]),
        name,
        str(said.get("programArguments") or ""),
        append_to,
        table and table.document,
        {**_settings(said, keys, table), **_nodes(platform, row, status)},
        model,
    )
    more = [_place(one, place, folder) for one, (place, folder) in table.places.items()] if table else []
    return Driven(
        spec,
        [_slots(platform, row, said, one) for one in status.machines or [""] * len(status.tasks)],
        [*(_used(one, name, model) for one in inputs), *more],
        [_writable(one) if one.name == append_to else one for one in outputs],
    )


def _table(platform: Platform, row: Row, name: str, place: Place, keys: Sequence[str]) -> tables.Table | None:
    if part(row.properties, "inputs")[name].get("jobInputType") != "mltable":
        return None
    with platform.database.read() as connection:
        return tables.read(platform, connection, ResourceId.parse(row.written).workspace, name, place, keys)


def _settings(said: Document, keys: Sequence[str], table: tables.Table | None) -> Document:
    """The driver's, but for those that are at its defaults."""
    retry, is_read = part(said, "retrySettings"), table is not None and table.document["reader"] is not None
    found = {
        "size": (said.get("tableBatchSize") if is_read else None) or said.get("miniBatchSize"),
        "keys": list(keys) or None,
        "retries": retry.get("maxRetries"),
        "timeout_s": retry.get("timeout"),
        "item_errors": said.get("errorThreshold"),
        "batch_errors": said.get("miniBatchErrorThreshold"),
        "level": str(said.get("loggingLevel") or "INFO").upper(),
    }
    return {key: value for key, value in found.items() if value is not None}


def _nodes(platform: Platform, row: Row, status: JobStatus) -> Document:
    if len(status.tasks) < 2:
        return {"nodes": 1}
    if not status.machines:
        check_nodes(platform, len(status.tasks))  # it may have been started anew since the job was taken
    meet = f"{status.addresses[0] if status.addresses else HOST}:{status.ports[0]}"
    return {"nodes": len(status.tasks), "meet": meet, "secret": peers.secret(platform, row, status)}


def _slots(platform: Platform, row: Row, said: Document, machine: str) -> int:
    """Worker processes of a node: as asked; or one for each processor, and one alone where a node has GPUs."""
    if asked := said.get("maxConcurrencyPerInstance"):
        return int(asked)
    size = SIZES.get(str(row.spec[OURS].get("instance_type") or "").lower())
    if size is not None and size.gpus:
        return 1
    here = platform.engine.capacity(machine).cpus
    return max(1, min(size.cpus, here) if size is not None else here)


def _used(one: InputSpec, split: str, model: str) -> InputSpec:
    """What is split has to be files on the node, in whatever way the script would have had it; so has the model."""
    if one.name not in (split, model):
        return one
    return replace(one, mode="download" if one.mode in _COPIED else "ro_mount", named=one.name == model)


def _writable(one: OutputSpec) -> OutputSpec:
    return replace(one, mode="upload" if one.mode == "upload" else "rw_mount")


def _place(name: str, place: Place, folder: bool) -> InputSpec:
    ref = place.ref(folder) if place.account else None
    return InputSpec(name, "uri_folder" if folder else "uri_file", "ro_mount", "", place.uri, ref, place.url)
