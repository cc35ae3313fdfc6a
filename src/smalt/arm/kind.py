"""What a resource kind is: one declaration, from which routes, validation, operations and reconciling follow.

    KIND = Kind(path="workspaces/computes", title="compute", properties=ComputeProperties, admit=admit, reconcile=step)

`kinds/` is scanned at start for `KIND` (or `KINDS`). A kind says only what differs from the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from smalt.arm.errors import ArmError
from smalt.arm.ids import ML, ResourceId, Scope, kind_key
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.store.document import Document
from smalt.store.resources import Row

CONTROL, SERVING, CLEANUP, BULK, TELLING = "control", "serving", "cleanup", "bulk", "telling"
OURS = "smalt"  # the key of a spec where we keep what the user did not write (a cancel request, …)
IN_GROUP = frozenset({Scope.GROUP})
INTERNAL = frozenset[Scope]()
EXTENDS = frozenset(Scope)  # hangs on anything: …/providers/Microsoft.Authorization/roleAssignments/x
ACTIVE: Mapping[str, bool | None] = {"ActiveOnly": False, "ArchivedOnly": True, "All": None}
NAME = r"^[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,254}$"


@dataclass(frozen=True)
class Request:
    """One call on a resource or collection, as a kind's functions see it.

    `body` is the whole JSON document; `patched`: a PATCH made it. `rehearse`, for actions: how these PUTs would be
    answered now, one after the other; None, or why not. Nothing is kept. `patch`, for `Kind.verbs`: PATCH another
    resource (its request, its ETag) as its own PATCH would. `kinds`, for both: all that there are, by key. `headers`
    have names in small letters.
    """

    platform: Platform
    id: ResourceId
    principal: Principal
    now: float
    body: Document = field(default_factory=dict[str, Any])
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    api_version: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    patched: bool = False
    rehearse: Callable[[Sequence[Request]], list[ArmError | None]] | None = None
    patch: Callable[[Request, str], Document] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict[str, "Kind"])


@dataclass(frozen=True)
class Admitted:
    """What a PUT becomes. `due` hands it to the reconciler; otherwise it is in its final state at once.

    `writes` runs in the same transaction, after the row is written. `status` None keeps the one that is there.
    """

    spec: Mapping[str, Any]
    state: str = "Succeeded"
    due: bool = False
    status: Mapping[str, Any] | None = None
    lookup: str | None = None
    archived: bool = False
    writes: Callable[[Connection], None] | None = None


@dataclass(frozen=True)
class Step:
    """What one pass of a reconciler found: the new status, and when to look again.

    - `done`: this generation has come to its end; operations on it succeed, or fail where `error` is set.
    - `final`: with `done`: the end of the resource itself, which no write that came meanwhile undoes (a job has ended).
    - `gone`: nothing is left outside; the row is removed.
    - `after`: look again in so many seconds; None: only when something wakes it.
    - `writes` runs in the same transaction as the apply.
    - `home`: the server that steps the row from now on, because its machine has what the step made or is about to
      make; empty: any. None leaves it as it is.

    A step is applied whole or not at all: where the resource was written meanwhile, it is dropped and done again.
    """

    state: str
    status: Mapping[str, Any]
    done: bool = False
    final: bool = False
    gone: bool = False
    after: float | None = None
    error: Mapping[str, Any] | None = None
    reason: str = ""
    writes: Callable[[Connection], None] | None = None
    home: str | None = None


@dataclass(frozen=True)
class Action:
    """POST …/{name}. `run` returns (status code, body or None); it may write."""

    run: Callable[[Request, Row | None], tuple[int, Any]]
    method: str = "POST"
    needs_row: bool = True  # False: `run` is called with None where the resource does not exist (yet)
    gives_secrets: bool = False  # its answer holds some: who asked is recorded


Admit = Callable[[Request, Connection, Row | None], Admitted]


@dataclass(frozen=True)
class Kind:
    """One resource type.

    - `path`: the type below the provider, in the service's spelling.
    - `scopes`: what it may hang on; `EXTENDS`: on any resource there is, and on what holds those. It goes with that.
      Without any it is internal: its rows have no address of ARM's.
    - `inherited`: what hangs on a resource holds for all below it; lists of a scope show what is above and below, too.
    - `tracked`: Resource Manager itself knows it, with a location and tags: in lists of all resources.
    - `verbs`: of a kind without rows, which follows from others: GET, PUT, PATCH, DELETE, and LIST of its collection
      → (status code, body or None). What is not named is a 405. `narrows`: its LIST shows only what its reader may see.
    - `properties`: the model that `properties` is validated with; unknown fields are kept.
    - `admit`: pure decision about a PUT or PATCH; raises ArmError. None: the platform makes the
      rows, clients cannot PUT them.
    - `reconcile`: the control loop's step; None for kinds that are only stored. `fail`: what becomes of a row whose
      steps raise again and again, for kinds that hold something (nodes, a run): (platform, row, error body) → Step.
      Without it the row is `Failed`.
    - `view`: what the server adds to `properties` in answers, from the row alone.
    - `detail`: what is added where one resource is read or written, and not in lists: it may cost more than the row.
    - `origin`: from what a resource was made, as lineage tells it: (connection, row) → document. The row may be that of
      one that is gone.
    - `shape`: the last word on the whole document: (platform, row, document) → document.
    - `long_running`: PUT and DELETE answer with an operation to poll.
    - `whole`: properties that are maps and that a PATCH replaces, so that something can be taken out of them; others it
      merges.
    - `since`: property → first api-version that knows it; an older client's PUT keeps what is stored.
    - `derived`: the row of a resource that has none of its own but follows from others; as a
      version it is the only one, `1`.
    - `written`: what follows a PUT or PATCH at once, outside of its transaction; a failure is not the request's.
    - `creates_parent`: a PUT creates the container above it (data, models, …).
    - `list_filter`: which rows a list shows, by its query; `list_lookup`: the query parameter that is looked up in the
      `lookup` column, `lookup_across` below all parents of the workspace (codes by hash).
    - `list_states`: the states that a list's `status` may name (`Queued,Running`), found by an index; `list_names`: the
      query parameter with the names (`a,b`) that a list is of, if not of all.
    - `views`: what `listViewType` may say, the default first, and whether a list then shows archived rows, the others,
      or (None) both.
    - `sees`: whether somebody sees a row, where rows are not for all who may read the kind; to others it is not there.
    - `check_delete` may refuse a DELETE; `deleted` runs in the transaction that removes the row.
    - `lane`: whose workers do its steps: BULK for steps that read a lot, which nobody else is to wait behind; TELLING
      for those that wait for others' servers; SERVING for what stands between a request and its answer, so that nothing
      else holds it up; deletes of all other kinds have workers of their own.
    - `delete_at_once`: nothing outside has to be removed first, and clients take no 202 for it.
    - `by_the_clock`: what it waits for is a time of day. Where the clock is set its rows are looked at at once; all
      others go on to wait as long as before.
    - `newest_as`: the name under which a version's newest sibling is read (`versions/azureml_default`), with the id
      of the label `default`; `newest_for`: that sibling (its row) as it is read for a version of this name, where there
      is none of the name; None: it is not.
    """

    path: str
    title: str
    properties: type[BaseModel] | None = None
    admit: Admit | None = None
    reconcile: Callable[[Platform, Row], Step] | None = None
    fail: Callable[[Platform, Row, Document], Step] | None = None
    view: Callable[[Platform, Row], Document] | None = None
    detail: Callable[[Platform, Row], Document] | None = None
    origin: Callable[[Connection, Row], Document] | None = None
    shape: Callable[[Platform, Row, Document], Document] | None = None
    verbs: Mapping[str, Callable[[Request], tuple[int, Any]]] = field(default_factory=dict[str, Any])
    actions: Mapping[str, Action] = field(default_factory=dict[str, Action])
    long_running: bool = False
    put_status: int = 201
    update_status: int = 200
    name_pattern: str = NAME
    whole: tuple[str, ...] = ()
    since: Mapping[str, str] = field(default_factory=dict[str, str])
    narrows: bool = False
    provider: str = ML
    scopes: Set[Scope] = IN_GROUP
    inherited: bool = False
    tracked: bool = False
    written: Callable[[Platform, Row], None] | None = None
    derived: Callable[[Connection, ResourceId], Row | None] | None = None
    creates_parent: bool = False
    list_filter: Callable[[Row, Mapping[str, str]], bool] | None = None
    list_lookup: str = ""
    lookup_across: bool = False
    list_states: Sequence[str] = ()
    list_names: str = ""
    sees: Callable[[Principal, Row], bool] | None = None
    views: Mapping[str, bool | None] = field(default_factory=lambda: ACTIVE)
    check_delete: Callable[[Request, Connection, Row], None] | None = None
    deleted: Callable[[Connection, Row, float], None] | None = None
    delete_at_once: bool = False
    by_the_clock: bool = False
    newest_as: str = ""
    newest_for: Callable[[Row, str], Row | None] | None = None
    lane: str = CONTROL

    @property
    def key(self) -> str:
        """What rows have as their `kind`."""
        return kind_key(self.provider, self.path)

    @property
    def qualified(self) -> str:
        """As ARM writes a type: Microsoft.MachineLearningServices/workspaces/jobs."""
        return f"{self.provider}/{self.path}"

    @property
    def type(self) -> str:
        return self.path.rsplit("/", 1)[-1]


def keep_trying(platform: Platform, row: Row, error: Document) -> Step:
    """`Kind.fail` of what serves others and has no failure of its own: it goes on as soon as it can."""
    return Step(row.state, row.status, after=30.0, reason=str(error["message"])[:500])
