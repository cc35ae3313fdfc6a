"""What a browser with a session opens, until there is a Studio: MLflow's own pages."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from smalt.arm.ids import NotAnId, ResourceId, workspace_id
from smalt.auth.sessions import Sessions
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE
from smalt.tracking.runs.runs import MlflowTracking


def _tracking_page(workspace: ResourceId) -> str:
    return f"/mlflow/v1.0{workspace}/"


@dataclass(frozen=True)
class Pages:
    """What a browser with a session opens, until there is a Studio: MLflow's own pages."""

    sessions: Sessions
    tracking: MlflowTracking

    async def home(self, http: HttpRequest) -> Response:
        if not self._known(http):
            return _LOGIN_FIRST
        return RedirectResponse(_tracking_page(workspace_id(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)), 303)

    async def job(self, http: HttpRequest) -> Response:
        """`/jobs/{name}?wsid={workspace}`: the link that clients print beside a job's name."""
        if not self._known(http):
            return _LOGIN_FIRST
        try:
            workspace = ResourceId.parse(http.query_params.get("wsid", "")).workspace
        except NotAnId:
            return PlainTextResponse("The link's wsid is not the id of a workspace.\n", status_code=400)
        name = http.path_params["name"]
        run = await run_in_threadpool(self.tracking.run, workspace.key, name)
        if run is None:
            return PlainTextResponse(f"Workspace {workspace.name} has no run {name} yet.\n", status_code=404)
        page = f"{_tracking_page(workspace)}#/experiments/{run.experiment_id}/runs/{run.run_id}"
        return RedirectResponse(page, 303)

    def _known(self, http: HttpRequest) -> bool:
        return self.sessions.read("GET", http.scope["headers"]) is not None


_LOGIN_FIRST = PlainTextResponse("Open the login link that `smalt up` prints.\n", status_code=401)
