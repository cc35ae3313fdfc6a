"""Create, read, update, delete, list, act: the same for every kind, in one place, each in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from smalt.arm import locks
from smalt.arm.above import check_above, check_exists, missing
from smalt.arm.collection import derived, one_page, seen
from smalt.arm.envelope import accepted, document, etag, patched, timestamp
from smalt.arm.errors import ArmError, conflict
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Admitted, Kind, Request
from smalt.arm.registry import Kinds
from smalt.arm.validation import check_document, check_name
from smalt.store import changes, operations, resources
from smalt.store.database import Collision
from smalt.store.document import Document
from smalt.store.resources import Lock, Row

_TRIES = 4  # of a PUT that meets others on the same row


@dataclass(frozen=True)
class Answer:
    """What goes back. `operation` is the id to poll."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    operation: str = ""


@dataclass(frozen=True)
class Conditions:
    """If-Match and If-None-Match, as sent."""

    if_match: str = ""
    if_none_match: str = ""

    def check(self, row: Row | None) -> None:
        """Raises ArmError(412)."""
        tag = etag(row) if row else None
        if self.if_match and (tag is None or (self.if_match != "*" and tag not in _tags(self.if_match))):
            raise _precondition(
                f"The resource has the ETag {tag}, not {self.if_match}. Read it again and repeat the change."
            )
        if self.if_none_match == "*" and row is not None:
            raise _precondition(f"'{row.name}' exists already.")
        if self.if_none_match and tag in _tags(self.if_none_match):
            raise _precondition(f"The resource still has the ETag {tag}.")


class _Undone(Exception):
    """Rolls a transaction back on purpose."""


def _tags(header: str) -> list[str]:
    return [one.strip().removeprefix("W/") for one in header.split(",")]


def _precondition(message: str) -> ArmError:
    return ArmError(412, "PreconditionFailed", message, target="If-Match")


class Crud:
    """The verbs, over all kinds."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds

    @property
    def kinds(self) -> Kinds:
        return self._kinds

    def collection(self, id_: ResourceId, type_: str) -> Kind | None:
        """The kind that is listed under the name `type_` below `id_`, if there is one. Raises ArmError(404)."""
        return self._kinds.below(id_, type_)

    def check_known(self, id_: ResourceId) -> None:
        """Raises ArmError(404) where no kind is at this address."""
        self._kinds.at(id_)

    def unknown(self, id_: ResourceId, last: str, method: str) -> ArmError:
        """404 for a path that is neither a collection nor an action of what is there."""
        if not id_.path:
            return self._kinds.no_type(*id_.type_below(last))
        message = f"{method} '{last[:200]}' is not known on {self._kinds.at(id_).qualified}."
        return ArmError(404, "InvalidResourceType", message, target=last[:200])

    def get(self, request: Request) -> Answer:
        kind = self._kinds.at(request.id)
        if kind.verbs:
            return self._computed(kind, request, "GET")
        with request.platform.database.read() as connection:
            id_ = _aliased(connection, kind, request.id)
            row = resources.get(connection, id_.key) or _stand_in(connection, kind, request.id)
            row = row or derived(connection, kind, request.id)
            if row is None or not seen(kind, request, row):
                raise missing(connection, self._kinds, request.id)
        body = document(request.platform, kind, row, alone=True)
        if id_ is not request.id:  # who asks by the alias goes on to mean whatever is newest
            body["id"] = f"{row.written.rpartition('/versions/')[0]}/labels/default"
        return Answer(200, body, {"ETag": etag(row)})

    def _computed(self, kind: Kind, request: Request, verb: str) -> Answer:
        """The answer of a kind without rows, which hangs on what has one."""
        run, above = kind.verbs.get(verb), request.id.holder if verb == "LIST" else request.id.parent
        if run is None:
            raise ArmError(405, "MethodNotAllowed", f"{verb} is not allowed on a {kind.title}.")
        with request.platform.database.read() as connection:
            check_exists(connection, self._kinds, above)
            if verb == "DELETE":
                locks.check_delete(connection, request.id)
            elif verb in ("PUT", "PATCH"):
                locks.check_write(connection, request.id)
        return Answer(*run(replace(request, kinds=self._kinds, patch=self._patch)))

    def _patch(self, request: Request, tag: str) -> Document:
        return self.put(request, Conditions(if_match=tag), patch=True).body

    def put(self, request: Request, conditions: Conditions, patch: bool = False) -> Answer:
        """PUT, or PATCH as a merge into what is stored."""
        if (kind := self._kinds.at(request.id)).verbs:
            return self._computed(kind, request, "PATCH" if patch else "PUT")
        kind = self._written_kind(request)
        for left in reversed(range(_TRIES)):
            try:
                return self._put(request, kind, conditions, patch)
            except (resources.Exists, resources.Changed, Collision) as error:  # somebody came between: decide again
                if not left:
                    message = f"{kind.title} '{request.id.name}' is being written by others all the time; try again."
                    raise conflict(message, "name") from error
        raise AssertionError("unreachable")

    def _written_kind(self, request: Request) -> Kind:
        """The kind of what is PUT. Raises ArmError where it cannot be, or not under this name."""
        kind = self._kinds.at(request.id)
        if kind.admit is None:
            raise ArmError(405, "MethodNotAllowed", f"A {kind.title} is made by the platform; it cannot be PUT.")
        check_name(kind, request.id.name)
        return kind

    def _put(self, request: Request, kind: Kind, conditions: Conditions, patch: bool) -> Answer:
        with request.platform.database.write() as connection:
            old, admitted, row, operation = self._admit(connection, request, kind, conditions, patch)
        if admitted.writes is not None and not admitted.due:  # they may have made something else due
            request.platform.hub.notify(row.id)
        if kind.written is not None:
            kind.written(request.platform, row)
        status = kind.update_status if patch or old else kind.put_status
        if operation and status == 200 and not patch:
            status = kind.put_status
        return Answer(status, document(request.platform, kind, row, alone=True), {"ETag": etag(row)}, operation)

    def _admit(
        self, connection: Connection, request: Request, kind: Kind, conditions: Conditions, patch: bool
    ) -> tuple[Row | None, Admitted, Row, str]:
        """All of a PUT that is in its transaction: the row before, what it becomes, the row after, the operation."""
        check_above(connection, self._kinds, request.id, kind)
        locks.check_write(connection, request.id)
        old = resources.get(connection, request.id.key, Lock.WRITE)
        if patch and old is None:
            raise missing(connection, self._kinds, request.id)
        conditions.check(old)
        if old is not None and old.deleting:
            raise conflict(f"{kind.title} '{old.name}' is being deleted. Wait for its end, then create it.", "name")
        body = patched(kind, _public(old.spec), request.body) if patch and old else request.body
        checked = check_document(kind, accepted(kind, body, old, request.api_version))
        asked = replace(request, body=checked, patched=patch)
        assert kind.admit is not None
        admitted = kind.admit(asked, connection, old)
        row, operation = self._write(connection, asked, kind, old, admitted)
        return old, admitted, row, operation

    def rehearse(self, requests: Sequence[Request]) -> list[ArmError | None]:
        """How each PUT would be answered, after those before it: None, or why not. Nothing of them is kept.

        What is refused is tried once more behind all others: they may be what it needs.
        """
        if not requests:
            return []
        refused: dict[int, ArmError] = {}
        with contextlib.suppress(_Undone), requests[0].platform.database.write() as connection:
            refused = self._refused(connection, dict(enumerate(requests)))
            refused = self._refused(connection, {at: requests[at] for at in refused})
            raise _Undone
        return [refused.get(at) for at in range(len(requests))]

    def _refused(self, connection: Connection, requests: Mapping[int, Request]) -> dict[int, ArmError]:
        found: dict[int, ArmError] = {}
        for at, request in requests.items():
            try:
                with connection.begin_nested():
                    self._admit(connection, request, self._written_kind(request), Conditions(), patch=False)
            except ArmError as error:
                found[at] = error
            except (resources.Exists, resources.Changed):
                found[at] = conflict(f"'{request.id.name}' is being written by others now; try again.", "name")
        return found

    def _write(
        self, connection: Connection, request: Request, kind: Kind, old: Row | None, admitted: Admitted
    ) -> tuple[Row, str]:
        key, now, by = request.id.key, request.now, request.principal.name
        if old is None:
            self._ensure_parent(connection, request, kind)
            resources.insert(
                connection,
                key=key,
                written=self._spelled(request.id),
                kind=kind.key,
                parent=request.id.parent.key,
                name=request.id.name,
                spec=admitted.spec,
                status=admitted.status or {},
                state=admitted.state,
                now=now,
                by=by,
                due_at=now if admitted.due else None,
                lookup=admitted.lookup,
                archived=admitted.archived,
            )
        else:
            resources.replace_spec(
                connection,
                old,
                admitted.spec,
                state=admitted.state,
                now=now,
                by=by,
                due=admitted.due,
                lookup=admitted.lookup,
                archived=admitted.archived,
                status=admitted.status,
            )
        if admitted.writes is not None:
            admitted.writes(connection)
        row = resources.get(connection, key)
        assert row is not None
        operation = ""
        if kind.long_running and admitted.due:
            operation = operations.begin(connection, key, "write", row.generation, now)
        return row, operation

    def delete(self, request: Request, conditions: Conditions) -> Answer:
        kind = self._kinds.at(request.id)
        if kind.verbs:
            return self._computed(kind, request, "DELETE")
        with request.platform.database.write() as connection:
            row = resources.get(connection, request.id.key, Lock.REMOVE)
            if row is None and not request.id.segments:  # clients of groups take no 204
                raise missing(connection, self._kinds, request.id)
            if row is None:
                return Answer(204)
            conditions.check(row)
            locks.check_delete(connection, request.id)
            if kind.check_delete is not None:
                kind.check_delete(request, connection, row)
            if kind.reconcile is None or kind.delete_at_once:
                self.remove_stored(connection, row, request.now)
                answer = Answer(200, {})
            else:
                if not row.deleting:
                    resources.mark_deleting(connection, row, request.now, request.principal.name)
                operation = operations.begin(connection, row.id, "delete", operations.UNTIL_GONE, request.now)
                answer = Answer(202, None, {}, operation)
        return answer

    def remove_stored(self, connection: Connection, row: Row, now: float) -> None:
        """Remove a row that nothing outside belongs to, and all that is below it."""
        for child in resources.children(connection, row.id):
            found = resources.get(connection, child)
            if found is not None:
                self.remove_stored(connection, found, now)
        hook = self._kinds[row.kind].deleted
        resources.remove(connection, row.id, now)
        if hook is not None:
            hook(connection, row, now)

    def list(self, request: Request, type_: str, url: str) -> Answer:
        """One page of a collection below `request.id`; `url` is the collection's, for the link to the next page."""
        kind = self._kinds.below(request.id, type_)
        if kind is None:
            raise self.unknown(request.id, type_, "GET")
        if kind.verbs:
            return self._computed(kind, request, "LIST")
        return Answer(200, one_page(self._kinds, kind, request, type_, url))

    def events(self, request: Request) -> Answer:
        """What happened to a resource and when: every change of state, and the stages in between."""
        with request.platform.database.read() as connection:
            if resources.get(connection, request.id.key) is None:
                raise missing(connection, self._kinds, request.id)
            found = changes.newest(connection, request.id.key)
        shown = [{"at": timestamp(one.at), "from": one.before, "to": one.after, "reason": one.reason} for one in found]
        return Answer(200, {"value": shown})

    def act(self, request: Request, name: str, method: str) -> tuple[int, Any] | None:
        """Run an action; None if the kind has none of this name."""
        known = self._kinds.find(*request.id.type)
        found = [] if known is None else [one for one in known.actions.items() if one[0].lower() == name.lower()]
        if not found or found[0][1].method != method:
            return None
        kind, (name, action) = self._kinds.at(request.id), found[0]
        with request.platform.database.read() as connection:
            row = None if kind.verbs else resources.get(connection, request.id.key)
            if row is None and action.needs_row:
                raise missing(connection, self._kinds, request.id)
            if method != "GET":
                locks.check_write(connection, request.id)
        answered = action.run(replace(request, rehearse=self.rehearse, kinds=self._kinds), row)
        if action.gives_secrets:
            request.platform.audit.secret_read(request.id, name)
        return answered

    def _ensure_parent(self, connection: Connection, request: Request, kind: Kind) -> None:
        above = request.id.parent
        if kind.creates_parent and resources.get(connection, above.key) is None:
            check_name(self._kinds[above.kind], above.name)
            resources.insert(
                connection,
                key=above.key,
                written=self._spelled(above),
                kind=above.kind,
                parent=above.parent.key,
                name=above.name,
                spec={"properties": {}},
                status={},
                state="Succeeded",
                now=request.now,
                by=request.principal.name,
            )

    def _spelled(self, id_: ResourceId) -> str:
        return str(self._kinds.spelled(id_))


def _aliased(connection: Connection, kind: Kind, id_: ResourceId) -> ResourceId:
    """The version that an alias stands for; any other id as it is."""
    if not kind.newest_as or id_.name.lower() != kind.newest_as:
        return id_
    above = resources.get(connection, id_.parent.key)
    newest = above.status.get("latest") if above else None
    return id_.parent.child(id_.path[-1][0], newest) if newest else id_


def _stand_in(connection: Connection, kind: Kind, id_: ResourceId) -> Row | None:
    """The newest sibling as a version of this name, where the kind says so."""
    above = resources.get(connection, id_.parent.key) if kind.newest_for else None
    if kind.newest_for is None or above is None or not above.status.get("latest"):
        return None
    newest = resources.get(connection, id_.parent.child(id_.path[-1][0], above.status["latest"]).key)
    return kind.newest_for(newest, id_.name) if newest is not None else None


def _public(spec: Mapping[str, Any]) -> Document:
    return {key: value for key, value in spec.items() if key != OURS}
