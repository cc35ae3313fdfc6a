"""The run-history routes that the clients use beside ARM: what a job is doing, its logs, outputs and description.

    GET   /discovery                                            where the services are: all here
    GET   /history/v1.0{WS}/runs/{job}[/details|/children]      details: with URLs of its first 500 logs
    GET   /history/v1.0{WS}/runs/{job}/metricsingest/wait       whether all that was logged is kept: it is
    GET   /history/v1.0{WS}/runs/{job}/serviceinstances/{node}  the services that it asked for, on one of its nodes
    POST  /history/v1.0{WS}/rundata
    PATCH /history/v1.0{WS}/[experiments/{e}/]runs/{job}        display name, tags, description, properties, hidden
    PATCH /history/v1.0{WS}/experimentids/{id}/runs/{job}       the same, as mldesigner 0.1 sends what a step says
    POST  /data|/modelregistry/v1.0{WS}/…/batchGetResolvedUris  where named outputs are

Source: the request traces of azure-ai-ml 1.35.2 (run history REST, api-version v1.0).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from smalt.arm import services
from smalt.arm.audit import known
from smalt.arm.bounds import check_size, check_tags
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, invalid, not_found
from smalt.arm.ids import ML, ResourceId, workspace_id
from smalt.arm.listing import Paging, next_link
from smalt.arm.platform import Platform
from smalt.arm.ports import NotReady, Principal
from smalt.arm.router import Authenticate, Authorize, guarded, read_json
from smalt.arm.runs import JOBS, SHOWN_ONLY, JobRuns, described, held, run_type
from smalt.arm.threads import Threads
from smalt.arm.validation import Properties
from smalt.auth.shared_links import signed_for
from smalt.settings import ARTIFACT_CONTAINER, STORAGE_SUFFIX
from smalt.store import pages, resources
from smalt.store.resources import Row
from smalt.tracking.address import long_form

SAS_S = 24 * 3600.0
LOGS_MOST = 500
CHILDREN_MOST = 10_000
THREADS = 16
_WORKSPACE = r"/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/[^/]+/workspaces/([^/]+)"
_RUN = re.compile(
    rf"/history/v1\.0{_WORKSPACE}/(?:experiment(?:s|ids)/[^/]+/)?runs/([^/]+)(?:/(details|children|metricsingest/wait))?/?",
    re.IGNORECASE,
)
_SERVICES_OF = re.compile(rf"/history/v1\.0{_WORKSPACE}/runs/([^/]+)/serviceinstances/([0-9]{{1,9}})/?", re.IGNORECASE)
_RUNDATA = re.compile(rf"/history/v1\.0{_WORKSPACE}/rundata/?", re.IGNORECASE)
_RESOLVE = re.compile(
    rf"/(data|modelregistry)/v1\.0{_WORKSPACE}/(?:dataversion|models)/batchGetResolvedUris/?", re.IGNORECASE
)
_LOG_FOLDERS = ("user_logs/", "azureml-logs/", "system_logs/", "logs/")
_DATA_TYPES = {"uri_file": "UriFile", "uri_folder": "UriFolder", "mltable": "MLTable"}  # as this service spells them
_OWN_SPELLING = "azsdk-python-runhistory/"  # the client that knows the resource manager's spelling alone (1.35)
_SERVICES = ("api", "catalog", "experimentation", "gallery", "history", "hyperdrive", "labeling", "modelmanagement",
             "pipelines", "notebooks", "studio", "modelregistry")  # fmt: skip


class _Changes(Properties):
    """What PATCH changes. None leaves as it is; a tag or property that is None is removed."""

    display_name: str | None = None
    description: str | None = None
    tags: dict[str, str | None] | None = None
    properties: dict[str, str | None] | None = None
    hidden: bool | None = None

    def merged(self, properties: dict[str, Any]) -> dict[str, Any]:
        changed = dict(properties)
        for field, text in (("displayName", self.display_name), ("description", self.description)):
            if text is not None:
                changed[field] = text
        for field, given in (("tags", self.tags), ("properties", self.properties)):
            if given is not None:
                both = {**(properties.get(field) or {}), **given}
                kept = {key: value for key, value in both.items() if value is not None}
                changed[field] = {key: value for key, value in kept.items() if key not in SHOWN_ONLY}
        return changed


class HistoryApp:
    """An ASGI app for the paths that `handles` knows."""

    def __init__(self, platform: Platform, authenticate: Authenticate, authorize: Authorize) -> None:
        self._platform = platform
        self._authenticate = authenticate
        self._authorize = authorize
        self._threads = Threads(THREADS)

    @staticmethod
    def handles(path: str) -> bool:
        return path == "/discovery" or any(
            pattern.fullmatch(path) for pattern in (_RUN, _SERVICES_OF, _RUNDATA, _RESOLVE)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        response = await guarded(self._answer, http, self._platform.audit)
        await response(scope, receive, send)

    async def _answer(self, http: HttpRequest) -> Response:
        path = http.scope["path"]
        if path == "/discovery":
            return JSONResponse(dict.fromkeys(_SERVICES, self._platform.settings.url))
        principal = known(self._authenticate(http.scope))
        body = await read_json(http) if http.method in ("POST", "PATCH", "PUT") else {}
        if found := _RUN.fullmatch(path):
            subscription, group, workspace, job, what = found.groups()
            row = await self._job(principal, workspace_id(subscription, group, workspace), job, http.method)
            if http.method == "PATCH":
                row = await self._threads.run(self._patch, row, body, principal)
            if what == "metricsingest/wait":  # azureml.core asks it; what was logged is kept before it is answered
                return JSONResponse({})
            if what == "children":
                return JSONResponse(await self._threads.run(self._children, row, http))
            if what == "details":
                return JSONResponse(await self._threads.run(self._details, row, signed_for(principal, SAS_S)))
            return JSONResponse(await self._threads.run(self._whole, row))
        if found := _SERVICES_OF.fullmatch(path):
            *names, job, node = found.groups()
            if http.method not in ("GET", "HEAD"):
                raise ArmError(405, "MethodNotAllowed", "The services of a job are read here, and not made.")
            row = await self._job(principal, workspace_id(*names), job, "GET")
            return JSONResponse({"instances": self._services(row, int(node))})
        if found := _RUNDATA.fullmatch(path):
            job = str(body.get("runId") or "")
            row = await self._job(principal, workspace_id(*found.groups()), job, "GET")
            run = await self._threads.run(self._whole, row)
            if _OWN_SPELLING not in http.headers.get("user-agent", ""):
                for output in run["outputs"].values():
                    output["type"] = _DATA_TYPES[output["type"]]
            return JSONResponse({"runMetadata": run})
        found = _RESOLVE.fullmatch(path)
        assert found is not None
        service, *names = found.groups()
        workspace = workspace_id(*names)
        await self._threads.run(self._authorize, principal, f"{ML}/workspaces/read", workspace.key)
        return JSONResponse(await self._threads.run(self._resolve, workspace, service.lower(), body))

    async def _job(self, principal: Principal, workspace: ResourceId, job: str, method: str) -> Row:
        verb = "write" if method == "PATCH" else "read"
        key = workspace.child("jobs", job).key
        await self._threads.run(self._authorize, principal, f"{ML}/workspaces/jobs/{verb}", key)
        row = await self._threads.run(self._read, key)
        if row is None:
            raise not_found("Run", job)
        return row

    def _read(self, key: str) -> Row | None:
        with self._platform.database.read() as connection:
            return resources.get(connection, key)

    def _whole(self, row: Row) -> dict[str, Any]:
        """A run's document, as `rundata` shows it."""
        above: list[str] = []
        with self._platform.database.read() as connection:
            at: Row | None = row
            while (at := resources.get(connection, at.parent)) is not None and at.kind == JOBS:
                above.append(at.name)
        run = self._run(row, above)
        with contextlib.suppress(NotReady):
            run["parameters"] = dict(
                self._platform.tracking.parameters(ResourceId.parse(row.written).workspace.key, row.name)
            )
        return run

    def _run(self, row: Row, above: Sequence[str]) -> dict[str, Any]:
        """As lists show it; `above` are the runs that it is nested in, the root last."""
        status, properties = row.status, row.properties
        run: dict[str, Any] = {
            "runId": row.name,
            "runUuid": row.name,
            "dataContainerId": f"dcid.{row.name}",
            "runNumber": int(row.created_at),
            "rootRunId": above[-1] if above else row.name,
            "parentRunId": above[0] if above else None,
            "experimentId": properties.get("experimentName"),  # shown to users as the experiment's name
            "experimentName": properties.get("experimentName"),
            "displayName": properties.get("displayName"),
            "description": properties.get("description"),
            "status": row.state,
            "hidden": row.archived,
            "createdUtc": timestamp(row.created_at),
            "createdTimeUtc": timestamp(row.created_at),
            "createdBy": {"userName": row.created_by},
            "lastModifiedUtc": timestamp(row.changed_at),
            "lastModifiedBy": {"userName": row.changed_by},
            "tags": properties.get("tags") or {},
            "properties": {**(properties.get("properties") or {}), **held(row)},
            "runType": run_type(row),
            "outputs": {
                name: {
                    "assetId": _output_id(row, name),
                    # a folder, also where it is a model: the client's own call for models fails (azure-ai-ml 1.35.2)
                    "type": place["jobOutputType"] if place["jobOutputType"] in _DATA_TYPES else "uri_folder",
                }
                for name, place in (status.get("outputs") or {}).items()
            },
        }
        if status.get("started_at"):
            run["startTimeUtc"] = timestamp(status["started_at"])
        if status.get("ended_at"):
            run["endTimeUtc"] = timestamp(status["ended_at"])
        if status.get("error"):
            run["error"] = {"error": {"code": "UserError", "message": "", **status["error"]}}
        return run

    def _details(self, row: Row, signed_s: float) -> dict[str, Any]:
        """What `jobs.stream` reads again and again: the status, and a URL with a SAS for each log."""
        built = self._platform.environments.built(((row.spec.get("smalt") or {}).get("plan") or {}).get("key", ""))
        warnings = [{"source": "environment", "message": note} for note in (built.notes if built else ())]
        run = self._whole(row)
        return {
            **{key: run[key] for key in run if key not in ("outputs", "hidden", "displayName")},
            "logFiles": self._logs(row, signed_s),
            "warnings": warnings,
            "error": run.get("error"),
            "runDefinition": {},
            "inputDatasets": [],
            "outputDatasets": [],
        }

    def _logs(self, row: Row, signed_s: float) -> dict[str, str]:
        """The streamed logs first.

        Clients ask for all again and again, so of the files that a job left there in numbers only the first are shown;
        the others can be downloaded.
        """
        workspace = self._read(ResourceId.parse(row.written).workspace.key)
        account = workspace.status.get("account") if workspace else None
        if not account:
            return {}
        blobs, base = self._platform.blobs, f"ExperimentRun/dcid.{row.name}/"
        found: dict[str, str] = {}
        listed = chain.from_iterable(blobs.list(account, ARTIFACT_CONTAINER, base + folder) for folder in _LOG_FOLDERS)
        for name, _, _ in islice(listed, LOGS_MOST):
            token = blobs.sas(account, "r", signed_s, container=ARTIFACT_CONTAINER, blob=name)
            url = (
                f"{self._platform.settings.url}/{account}.blob.{STORAGE_SUFFIX}"
                f"/{ARTIFACT_CONTAINER}/{quote(name)}?{token}"
            )
            found[name.removeprefix(base)] = url
        return found

    def _children(self, row: Row, http: HttpRequest) -> dict[str, Any]:
        """The runs nested in this one, newest first, without those that are archived.

        All at once, unless `$top` asks for fewer: azure-ai-ml 1.35.2 follows no link to a next page.
        """
        parameters = _plain(http.query_params)
        paging = Paging.of(parameters)
        paging = replace(paging, most=min(int(parameters["$top"]) if paging.exact else CHILDREN_MOST, CHILDREN_MOST))
        with self._platform.database.read() as connection:
            page = pages.page(connection, row.kind, row.id, most=paging.most, skip=paging.skip)
        above = [row.name, *([root] if (root := self._whole(row)["rootRunId"]) != row.name else [])]
        shown: dict[str, Any] = {"value": [self._run(child, above) for child in page.rows]}
        query = dict(http.query_params)
        if page.skip and (link := next_link(http.scope["path"], query, page.skip, paging, len(page.rows))):
            shown |= {"nextLink": f"{self._platform.settings.url}{link}", "continuationToken": page.skip}
        return shown

    def _patch(self, row: Row, body: dict[str, Any], principal: Principal) -> Row:
        """Display name, description, tags and properties are merged; `hidden` archives. MLflow hears of it at once."""
        changes, platform = _changes(body), self._platform
        now = platform.clock()
        with platform.database.write() as connection:
            current = resources.get(connection, row.id)
            if current is None:
                raise not_found("Run", row.name)
            archived = current.archived if changes.hidden is None else changes.hidden
            properties = changes.merged(current.properties)
            check_tags({"properties": properties}, current.spec)
            check_size(properties)
            spec = described(current, properties, archived)
            if (spec, archived) != (current.spec, current.archived):
                resources.describe(connection, current, spec, archived=archived, now=now, by=principal.name)
                resources.poke(connection, [row.id], now)  # what cannot be told now is told by the reconciler
        with contextlib.suppress(NotReady):
            JobRuns(platform.database, platform.tracking, platform.clock).tell(row.id)
        platform.hub.notify(row.id)
        changed = self._read(row.id)
        if changed is None:
            raise not_found("Run", row.name)
        return changed

    def _services(self, row: Row, node: int) -> dict[str, Any]:
        """Those that a job asked for: on its first node, or on all. The client wants its kind of error."""
        nodes = int((row.properties.get("resources") or {}).get("instanceCount") or 1)
        url = self._platform.servers.url_of(row.home) or self._platform.settings.url
        found = services.instances(url, row, node) if node < nodes else {}
        return {
            name: {**one, "error": {"error": {"code": "JobService", "message": one["error"]}} if one["error"] else None}
            for name, one in found.items()
        }

    def _resolve(self, workspace: ResourceId, service: str, body: dict[str, Any]) -> dict[str, Any]:
        """{"values": [ids]} → where each named output is, in the long form that clients parse."""
        ids, values = body.get("values") or [], dict[str, Any]()
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise invalid('The body must be {"values": [the ids of outputs]}.', "values")
        for key in ids:
            job, _, output = key.removeprefix("azureml://jobs/").partition("/outputs/")
            row = self._read(workspace.child("jobs", job).key)
            place = ((row.status if row else {}).get("outputs") or {}).get(output)
            if place is None:
                raise not_found("Output", key)
            uri = long_form(workspace, place["uri"])
            values[key] = {"uri": uri, "type": place["jobOutputType"]} if service == "data" else {"path": uri}
        return {"values": values}


def _plain(query: Mapping[str, str]) -> dict[str, str]:
    """This service's names of what asks for a page, as lists of ARM have them."""
    arm_names = {"$continuationtoken": "$skipToken", "top": "$top"}
    return {arm_names.get(name, name): value for name, value in query.items()}


def _changes(body: dict[str, Any]) -> _Changes:
    try:
        return _Changes.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise invalid(f"{field}: {first['msg']}.", field) from None


def _output_id(row: Row, name: str) -> str:
    return f"azureml://jobs/{row.name}/outputs/{name}"
