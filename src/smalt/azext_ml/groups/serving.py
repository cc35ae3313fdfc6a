"""`ml online-endpoint` and `ml online-deployment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import DESCRIPTION, FILE, IN_WORKSPACE, MAYBE_FILE, NAME, NEW_NAME, NO_WAIT, SET, TAGS, flag, option
from ..connection import Connection
from ..errors import MLError
from ..kinds import ONLINE_DEPLOYMENT, ONLINE_ENDPOINT
from ..table import Command, Group
from ..verbs import ENDPOINT, create, delete, list_, show, update

ENDPOINTS, DEPLOYMENTS = "ml online-endpoint", "ml online-deployment"
_NOT_HERE = "Local endpoints need Docker and are not there; the server runs on your machine anyway: leave --local out."
_LOCAL = flag("--local", help="Not there: the server is local.")
_TRAFFIC = option("--traffic", "-r", help="Shares of the deployments: 'blue=90 green=10'.", nargs="+")
_MIRROR = option(
    "--mirror-traffic", "-m", help="A copy of that many percent goes to a deployment: 'green=10'.", nargs="+"
)
_DEPLOYMENT = option("--deployment-name", "-d", help="The deployment, whatever the traffic is.")
_FIELDS = (option("--auth-mode", help="key, aml_token or aad_token."), DESCRIPTION, TAGS)
_AAD = "https://ml.azure.com"


def _credentials(connection: Connection, name: str) -> Any:
    path = ONLINE_ENDPOINT.path(name)
    mode = str(connection.get(path)["properties"].get("authMode"))
    if mode.lower() == "key":
        return connection.send("POST", f"{path}/listKeys").body
    if mode.lower() == "aadtoken":
        return {"accessToken": connection.token(_AAD)}
    return connection.send("POST", f"{path}/token").body


def _regenerate(connection: Connection, name: str, key_type: str = "primary", no_wait: bool = False) -> None:
    kinds = {"primary": "Primary", "secondary": "Secondary"}
    if key_type.lower() not in kinds:
        raise MLError(f"There is no key of type '{key_type}'; the types are primary and secondary.")
    body = {"keyType": kinds[key_type.lower()]}
    connection.act("POST", f"{ONLINE_ENDPOINT.path(name)}/regenerateKeys", body, wait=not no_wait)


def _invoke(
    connection: Connection,
    name: str,
    request_file: str | None = None,
    deployment_name: str | None = None,
    local: bool = False,
) -> str:
    """What the deployment answered, as text."""
    if local:
        raise MLError(_NOT_HERE)
    if request_file is None or not Path(request_file).is_file():
        raise MLError(f"No such file or directory: {request_file}")
    path = ONLINE_ENDPOINT.path(name)
    endpoint = connection.get(path)["properties"]
    if deployment_name:
        connection.get(f"{path}/deployments/{deployment_name}")
    if not endpoint.get("scoringUri"):
        raise MLError(f"The endpoint {name} has no address yet.")
    given = _credentials(connection, name)
    secret = given["primaryKey"] if "primaryKey" in given else given["accessToken"]
    headers = {"azureml-model-deployment": deployment_name} if deployment_name else {}
    return connection.score(endpoint["scoringUri"], secret, Path(request_file).read_bytes(), headers)


def _create_deployment(
    connection: Connection,
    file: str,
    all_traffic: bool = False,
    local: bool = False,
    skip_script_validation: bool = False,
    no_wait: bool = False,
    **options: Any,
) -> Any:
    if local:
        raise MLError(_NOT_HERE)
    if all_traffic and no_wait:
        raise MLError("--all-traffic needs the deployment: leave --no-wait out.")
    shown = _create.run(connection, file=file, no_wait=no_wait, **options)
    if all_traffic and shown:
        path = ONLINE_ENDPOINT.path(shown["endpoint_name"])
        connection.act("PATCH", path, {"properties": {"traffic": {shown["name"]: 100}}})
    return shown


_create = create(DEPLOYMENTS, ONLINE_DEPLOYMENT, waits=True)


def _logs(
    connection: Connection,
    name: str,
    endpoint_name: str,
    lines: int = 5000,
    container: str | None = None,
    local: bool = False,
) -> str:
    if local:
        raise MLError(_NOT_HERE)
    kinds = {
        None: "InferenceServer",
        "inference-server": "InferenceServer",
        "storage-initializer": "StorageInitializer",
    }
    if container not in kinds:
        raise MLError(f"There is no container '{container}': inference-server, storage-initializer.")
    path = f"{ONLINE_ENDPOINT.path(endpoint_name)}/deployments/{name}/getLogs"
    return connection.send("POST", path, {"tail": lines, "containerType": kinds[container]}).body["content"]


ENDPOINT_COMMANDS = Group(
    ENDPOINTS,
    "Online endpoints: an address and the traffic to deployments.",
    (
        create(ENDPOINTS, ONLINE_ENDPOINT, *_FIELDS, file=MAYBE_FILE, waits=True),
        show(ENDPOINTS, ONLINE_ENDPOINT),
        list_(ENDPOINTS, ONLINE_ENDPOINT),
        update(ENDPOINTS, ONLINE_ENDPOINT, _TRAFFIC, _MIRROR, DESCRIPTION, TAGS, waits=True),
        delete(ENDPOINTS, ONLINE_ENDPOINT, waits=True),
        Command(ENDPOINTS, "get-credentials", "Show the keys or a token.", _credentials, (NAME, *IN_WORKSPACE)),
        Command(
            ENDPOINTS, "regenerate-keys", "Replace one of the keys.", _regenerate,
            (NAME, option("--key-type", help="primary or secondary.", default="primary"), NO_WAIT, *IN_WORKSPACE),
            "Are you sure you want to perform this operation?",
        ),
        Command(
            ENDPOINTS, "invoke", "Send a request, and print the answer.", _invoke,
            (
                NAME, option("--request-file", "-r", help="The file with what is sent.", required=True), _DEPLOYMENT,
                _LOCAL, *IN_WORKSPACE,
            ),
        ),
    ),
)  # fmt: skip

DEPLOYMENT_COMMANDS = Group(
    DEPLOYMENTS,
    "Online deployments: a model that answers behind an endpoint.",
    (
        Command(
            DEPLOYMENTS, "create", "Create an online deployment.", _create_deployment,
            (
                FILE, NEW_NAME, option("--endpoint-name", "-e", help="Name of its endpoint, in place of the file's."),
                flag("--all-traffic", help="All of the endpoint's traffic goes to it."), _LOCAL,
                flag("--skip-script-validation", help="Not used: nothing is checked."), SET, NO_WAIT, *IN_WORKSPACE,
            ),
        ),
        show(DEPLOYMENTS, ONLINE_DEPLOYMENT, ENDPOINT),
        list_(DEPLOYMENTS, ONLINE_DEPLOYMENT, ENDPOINT),
        update(DEPLOYMENTS, ONLINE_DEPLOYMENT, ENDPOINT, waits=True),
        delete(DEPLOYMENTS, ONLINE_DEPLOYMENT, ENDPOINT, waits=True),
        Command(
            DEPLOYMENTS, "get-logs", "Show the log of a deployment.", _logs,
            (
                NAME, ENDPOINT, option("--lines", "-l", help="The most lines.", type=int, default=5000),
                option("--container", "-c", help="inference-server or storage-initializer."), _LOCAL, *IN_WORKSPACE,
            ),
        ),
    ),
)  # fmt: skip
