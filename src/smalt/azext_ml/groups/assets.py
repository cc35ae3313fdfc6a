"""`ml data`, `ml environment`, `ml model`, `ml component`."""

from __future__ import annotations

from ..arguments import IN_HOME, NAME, option
from ..connection import Connection
from ..kinds import COMPONENT, DATA, ENVIRONMENT, MODEL
from ..table import Command, Group
from ..verbs import asset, share

PATH = option("--path", "-p", help="A local file or folder, or a URI.")
TYPE = option("--type", "-t", help="Its type.")
DATASTORE = option("--datastore", help="The datastore that local files are uploaded to.")


def _download(
    connection: Connection,
    name: str,
    version: str,
    download_path: str | None = None,
) -> None:
    from .. import sdk

    connection.get(MODEL.path(name, version))
    sdk.called(connection, MODEL.operations, "download", name=name, version=version, download_path=download_path or ".")


DATA_COMMANDS = Group("ml data", "Data assets: files and folders with a name and versions.",
                      (*asset("ml data", DATA, PATH, TYPE, DATASTORE), share("ml data", DATA)))  # fmt: skip

ENVIRONMENT_COMMANDS = Group(
    "ml environment",
    "Environments: what jobs and deployments run in.",
    (
        *asset(
            "ml environment", ENVIRONMENT,
            option("--image", "-i", help="The image."),
            option("--conda-file", "-c", help="A conda specification."),
            option("--build-context", "-b", help="A folder with a Dockerfile."),
            option("--dockerfile-path", "-d", help="The Dockerfile in that folder."),
            option("--os-type", help="Linux."),
            DATASTORE,
        ),
        share("ml environment", ENVIRONMENT),
    ),
)  # fmt: skip

MODEL_COMMANDS = Group(
    "ml model",
    "Models.",
    (
        *asset("ml model", MODEL, PATH, TYPE, option("--stage", "-s", help="Its stage."), DATASTORE),
        Command(
            "ml model", "download", "Download a model's files.", _download,
            (
                NAME, option("--version", "-v", help="Its version.", required=True),
                option("--download-path", "-p", help="The folder to put them in.  [default: here]"),
                *IN_HOME,
            ),
        ),
        share("ml model", MODEL),
    ),
)  # fmt: skip

COMPONENT_COMMANDS = Group("ml component", "Components: steps of pipelines.", asset("ml component", COMPONENT))
