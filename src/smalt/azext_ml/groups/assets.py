"""`ml data`, `ml environment`, `ml model`, `ml component`."""

from __future__ import annotations

from typing import Any

from ..arguments import IN_HOME, IN_WORKSPACE, NAME, option
from ..connection import Connection
from ..kinds import COMPONENT, DATA, ENVIRONMENT, MODEL, Kind
from ..table import Command, Group
from ..verbs import asset

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


def _share(group: str, kind: Kind) -> Command:
    """A version of the workspace's becomes one of a registry's, with its files."""

    def run(
        connection: Connection,
        name: str,
        version: str,
        registry_name: str,
        share_with_name: str | None = None,
        share_with_version: str | None = None,
    ) -> Any:
        from .. import sdk

        connection.get(kind.path(name, version))
        there = connection.in_registry(registry_name)
        named = {"share_with_name": share_with_name or name, "share_with_version": share_with_version or version}
        sdk.called(
            connection, kind.operations, "share", name=name, version=version, registry_name=registry_name, **named
        )
        return kind.printed(there, there.get(kind.path(named["share_with_name"], named["share_with_version"])))

    arguments = (
        NAME,
        option("--version", "-v", help="Its version.", required=True),
        option("--registry-name", help="The registry that it is shared with.", required=True),
        option("--share-with-name", help="Its name there.  [default: the same]"),
        option("--share-with-version", help="Its version there.  [default: the same]"),
        *IN_WORKSPACE,
    )
    return Command(group, "share", f"Share a {kind.noun} with a registry.", run, arguments)


DATA_COMMANDS = Group("ml data", "Data assets: files and folders with a name and versions.",
                      (*asset("ml data", DATA, PATH, TYPE, DATASTORE), _share("ml data", DATA)))  # fmt: skip

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
        _share("ml environment", ENVIRONMENT),
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
        _share("ml model", MODEL),
    ),
)  # fmt: skip

COMPONENT_COMMANDS = Group("ml component", "Components: steps of pipelines.", asset("ml component", COMPONENT))
