"""Commands that all kinds have: create, show, list, update, delete, archive, restore."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from .arguments import (
    ARCHIVED_ONLY,
    DESCRIPTION,
    FILE,
    IN_HOME,
    IN_WORKSPACE,
    INCLUDE_ARCHIVED,
    LABEL,
    MAX_RESULTS,
    MAYBE_FILE,
    NAME,
    NEW_NAME,
    NO_WAIT,
    SET,
    TAGS,
    VERSION,
    assignments,
    option,
    pairs,
)
from .connection import Connection
from .errors import MLError, UsageError
from .kinds import Kind
from .table import Argument, Command

COLUMNS = "{Name: name, Version: version || latest_version, Type: type, State: status || provisioning_state}"
ENDPOINT = option("--endpoint-name", "-e", help="Name of its endpoint.", required=True)
_SHARED = "azureml://registries/"
_DURATIONS = ("nodeIdleTimeBeforeScaleDown",)


def within(kind: Kind, endpoint_name: str | None) -> Kind:
    """Of one endpoint, where the kind is one of deployments."""
    return replace(kind, collection=kind.collection.format(endpoint=endpoint_name or ""))


def show(group: str, kind: Kind, *more: Argument) -> Command:
    if kind.versioned:
        arguments = (NAME, VERSION, LABEL, *IN_HOME)
        return Command(
            group, "show", f"Show details of a {kind.noun}.", _show_version(kind), arguments, columns=COLUMNS
        )

    def run(connection: Connection, name: str, endpoint_name: str | None = None, web: bool = False) -> Any:
        kind_here = within(kind, endpoint_name)
        shown = kind_here.printed(connection, connection.get(kind_here.path(name)))
        if web:
            open_page(connection, shown)
        return shown

    arguments = (NAME, *more, *IN_WORKSPACE)
    return Command(group, "show", f"Show details of a {kind.noun}.", run, arguments, columns=COLUMNS)


def _show_version(kind: Kind) -> Any:
    def run(
        connection: Connection,
        name: str,
        version: str | None = None,
        label: str | None = None,
    ) -> Any:
        return kind.printed(connection, version_of(connection, kind, name, version, label))

    return run


def version_of(connection: Connection, kind: Kind, name: str, version: str | None, label: str | None) -> dict[str, Any]:
    """The document of one version: `--version` or `--label`, of which `latest` is the one that there is."""
    if version and label:
        raise UsageError("Cannot specify both version and label.")
    if not version and not label:
        raise UsageError("Must provide either version or label.")
    if version:
        return connection.get(kind.path(name, version))
    if label != "latest":
        raise MLError(f"The {kind.noun} {name} has no label '{label}'; the only one is latest.")
    latest = connection.get(kind.path(name))["properties"].get("latestVersion")
    if latest is None:
        raise MLError(f"The {kind.noun} {name} has no version that is not archived.", 404)
    return connection.get(kind.path(name, latest))


def list_(group: str, kind: Kind, *more: Argument) -> Command:
    if kind.versioned:
        arguments = (
            option("--name", "-n", help="Its name: lists its versions."),
            MAX_RESULTS,
            ARCHIVED_ONLY,
            INCLUDE_ARCHIVED,
            *IN_HOME,
        )
        return Command(group, "list", f"List {kind.noun}s.", _list_versions(kind), arguments, columns=f"[].{COLUMNS}")

    def run(connection: Connection, endpoint_name: str | None = None, max_results: int | None = None) -> Any:
        kind_here = within(kind, endpoint_name)
        return all_of(connection, kind_here, connection.pages(kind_here.collection), max_results)

    arguments = (*more, MAX_RESULTS, *IN_WORKSPACE)
    return Command(group, "list", f"List {kind.noun}s.", run, arguments, columns=f"[].{COLUMNS}")


def _list_versions(kind: Kind) -> Any:
    def run(
        connection: Connection,
        name: str | None = None,
        max_results: int | None = None,
        archived_only: bool = False,
        include_archived: bool = False,
    ) -> Any:
        path = f"{kind.path(name)}/versions" if name else kind.collection
        found = connection.pages(path, listViewType=view(archived_only, include_archived))
        return all_of(connection, kind, found, max_results)

    return run


def view(archived_only: bool, include_archived: bool) -> str:
    if archived_only and include_archived:
        raise UsageError("Cannot provide both archived-only and include-archived.")
    return "ArchivedOnly" if archived_only else "All" if include_archived else "ActiveOnly"


def all_of(connection: Connection, kind: Kind, documents: Iterable[Any], most: int | None = None) -> list[Any]:
    return [kind.printed(connection, one) for one in _first(documents, most)]


def all_pages(connection: Connection, path: str, shown: Callable[[Any], Any], most: int | None = None) -> list[Any]:
    return [shown(one) for one in _first(connection.pages(path), most)]


def _first(documents: Iterable[Any], most: int | None) -> Iterable[Any]:
    if most is not None and most < 1:
        raise UsageError("argument --max-results/-r: must be at least 1")
    return islice(documents, most)


def create(
    group: str, kind: Kind, *more: Argument, file: Argument = FILE, waits: bool = False, verb: str = "create"
) -> Command:
    """From a file, or from options that stand for its fields; `more` are such options, by the fields' names."""
    fields = tuple(one.dest for one in more)

    def run(
        connection: Connection,
        file: str | None = None,
        set: list[list[str]] | None = None,
        no_wait: bool = False,
        endpoint_name: str | None = None,
        skip_script_validation: bool = False,
        **options: Any,
    ) -> Any:
        from . import sdk

        overrides = {name: value for name, value in options.items() if value is not None}
        if endpoint_name is not None:
            overrides["endpoint_name"] = endpoint_name
        if "tags" in overrides:
            overrides["tags"] = pairs(overrides["tags"], "--tags")
        overrides |= {key: told_value(value) for key, value in assignments(set).items()}
        if file is None and "name" not in overrides:
            raise UsageError("one of the arguments --file/-f --name/-n is required")
        entity = sdk.loaded(kind.loader, file, overrides) if file else sdk.made(kind.loader, nested(overrides))
        how = {"skip_script_validation": True} if skip_script_validation else {}
        saved = sdk.saved(connection, kind.operations, entity, wait=not no_wait, **how)
        return None if saved is None else written(connection, kind, saved)

    home = IN_HOME if kind.versioned else IN_WORKSPACE
    arguments = (file, NEW_NAME, *more, SET, *((NO_WAIT,) if waits else ()), *home)
    assert not {"file", "set", "name"} & {*fields}
    return Command(group, verb, f"Create a {kind.noun}.", run, arguments)


def written(connection: Connection, kind: Kind, entity: Any) -> Any:
    """What was saved, read again: so it is printed as `show` prints it."""
    path = path_of(str(entity.id)) if entity.id else kind.path(entity.name)  # a schedule tells no id
    return kind.printed(connection, connection.get(path))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split(".")
        at = found
        for one in above:
            at = at.setdefault(one, {})
        at[last] = value
    return found


def told_value(text: str) -> Any:
    """Text; a list or a mapping where it is written as JSON."""
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def update(group: str, kind: Kind, *more: Argument, waits: bool = False) -> Command:
    """`--set` and the options `more`, whose names are fields that may change, without the SDK."""
    places = (VERSION, LABEL) if kind.versioned else ()

    def run(
        connection: Connection,
        name: str,
        set: list[list[str]] | None = None,
        version: str | None = None,
        label: str | None = None,
        endpoint_name: str | None = None,
        no_wait: bool = False,
        **options: Any,
    ) -> Any:
        kind_here = within(kind, endpoint_name)
        given: dict[str, Any] = {key: told_value(value) for key, value in assignments(set).items()}
        for field, value in options.items():
            if value is not None:
                mapping = f"{field}." in kind.edits
                given |= (
                    {f"{field}.{key}": one for key, one in pairs(value, f"--{field.replace('_', '-')}").items()}
                    if mapping
                    else {field: value}
                )
        if not given:
            raise UsageError("nothing to update: give --set or an option of a field")
        if kind.versioned and (version or label):
            path = path_of(version_of(connection, kind_here, name, version, label)["id"])
        else:
            path = kind_here.path(name) if kind.collection else ""
        document = connection.get(path)
        replaced = {one for one in options if options[one] is not None and f"{one}." in kind.edits and one == "traffic"}
        for field in replaced:
            put(document, kind.edits[f"{field}."], {})
        for field, value in given.items():
            change(document, kind, field, value)
        write_back(connection, kind, path, document, wait=not no_wait)
        if no_wait:
            return None
        return kind_here.printed(connection, connection.get(path))

    home = IN_HOME if kind.versioned else IN_WORKSPACE
    arguments = (NAME, *places, *more, SET, *((NO_WAIT,) if waits else ()), *home)
    return Command(group, "update", f"Update a {kind.noun}.", run, arguments)


def write_back(connection: Connection, kind: Kind, path: str, document: Mapping[str, Any], wait: bool = True) -> None:
    """What was read and changed, over what was read alone. Raises MLError where somebody wrote it meanwhile."""
    try:
        connection.act("PUT", path, sent(document), wait=wait, if_match=str(document.get("etag") or ""))
    except MLError as error:
        if error.status != 412:
            raise
        said = f"The {kind.noun} {document['name']} was changed by somebody else meanwhile, and nothing was written."
        raise MLError(f"{said} Look at it, and run the command again.", 412, error.code) from None


def path_of(identity: str) -> str:
    """Of an id from the root; of one of a registry, which the connection leads to, below that."""
    if identity.startswith(_SHARED):
        return identity.removeprefix(_SHARED).partition("/")[2]
    return identity.removeprefix("azureml:")


def sent(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of a document that was read is written: the rest is the server's."""
    return {key: value for key, value in document.items() if key not in ("id", "name", "type", "etag", "systemData")}


def change(document: dict[str, Any], kind: Kind, field: str, value: Any) -> None:
    """Raises MLError for a field that no update changes."""
    head, _, rest = field.partition(".")
    if field in kind.edits:
        put(document, kind.edits[field], value)
    elif f"{head}." in kind.edits and (rest or isinstance(value, Mapping)):
        place = kind.edits[f"{head}."]
        now = dict(at(document, place) or {})
        whole = dict(value) if not rest else {rest: value}
        put(document, place, {**now, **whole} if rest else whole)
    else:
        known = ", ".join(sorted(f"{one}KEY" if one.endswith(".") else one for one in kind.edits))
        raise MLError(f"Cannot update '{field}' of a {kind.noun}. What can be updated: {known}.")


def at(document: Mapping[str, Any], place: str) -> Any:
    found: Any = document
    for one in place.split("."):
        found = (found or {}).get(one)
    return found


def put(document: dict[str, Any], place: str, value: Any) -> None:
    """A number stays one where one was, also if it came as text."""
    *above, last = place.split(".")
    here = document
    for one in above:
        here = here.setdefault(one, {})
    now = here.get(last)
    if last in _DURATIONS:
        value = f"PT{int(value)}S"
    elif isinstance(value, str) and isinstance(now, bool):
        value = value.lower() == "true"
    elif isinstance(value, str) and isinstance(now, int) and value.lstrip("-").isdigit():
        value = int(value)
    elif isinstance(value, Mapping) and last in ("traffic", "mirrorTraffic"):
        value = {key: int(one) if str(one).isdigit() else one for key, one in value.items()}
    here[last] = value


def delete(group: str, kind: Kind, *more: Argument, waits: bool = False, confirm: bool = True) -> Command:
    def run(connection: Connection, name: str, endpoint_name: str | None = None, no_wait: bool = False) -> None:
        path = within(kind, endpoint_name).path(name)
        connection.get(path)  # a DELETE of what is not there is no error to the server, and is one to a person
        connection.act("DELETE", path, wait=not no_wait)

    arguments = (NAME, *more, *((NO_WAIT,) if waits else ()), *IN_WORKSPACE)
    question = "Are you sure you want to perform this operation?" if confirm else ""
    return Command(group, "delete", f"Delete a {kind.noun}.", run, arguments, question)


def archive(group: str, kind: Kind) -> tuple[Command, Command]:
    """And `restore`. Without a version all versions and the name are meant."""

    def moved(archived: bool) -> Any:
        def run(
            connection: Connection,
            name: str,
            version: str | None = None,
            label: str | None = None,
        ) -> None:
            one = version or label
            path = path_of(version_of(connection, kind, name, version, label)["id"]) if one else kind.path(name)
            document = connection.get(path)
            document["properties"]["isArchived"] = archived
            write_back(connection, kind, path, document)

        return run

    arguments = (NAME, *((VERSION, LABEL, *IN_HOME) if kind.versioned else IN_WORKSPACE))
    return (
        Command(group, "archive", f"Archive a {kind.noun}: lists leave it out.", moved(True), arguments),
        Command(group, "restore", f"Restore an archived {kind.noun}.", moved(False), arguments),
    )


def asset(group: str, kind: Kind, *fields: Argument) -> tuple[Command, ...]:
    """What all versioned kinds have; `fields` are options of `create`."""
    return (
        create(group, kind, VERSION, DESCRIPTION, TAGS, *fields, file=MAYBE_FILE),
        show(group, kind),
        list_(group, kind),
        update(group, kind),
        *archive(group, kind),
    )


def open_page(connection: Connection, shown: Mapping[str, Any]) -> None:
    """`--web`: the page of what is shown, where it has one."""
    import webbrowser

    page = (shown.get("services") or {}).get("Studio", {}).get("endpoint")
    if not page:
        raise MLError("It has no page of its own.")
    if not webbrowser.open(page):
        connection.notify(f"No browser here; open {page}")
