"""`ml job`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from .. import tunnel
from ..arguments import (
    ARCHIVED_ONLY,
    FILE,
    IN_WORKSPACE,
    INCLUDE_ARCHIVED,
    NAME,
    NEW_NAME,
    SET,
    WEB,
    assignments,
    flag,
    option,
)
from ..connection import Connection
from ..errors import MLError, UsageError
from ..kinds import JOB
from ..logs import Streamed
from ..table import Command, Group
from ..verbs import COLUMNS, all_of, archive, open_page, show, told_value, update, view, written

GROUP = "ml job"
FIRST = 50  # jobs that a list shows unless told
_ENDED = ("Completed", "Failed", "Canceled")
_PAUSES_S = (0.2, 0.3, 0.5, 1.0)  # between looks at a running job, the last again and again


def _create(
    connection: Connection,
    file: str,
    name: str | None = None,
    set: list[list[str]] | None = None,
    stream: bool = False,
    web: bool = False,
    save_as: str | None = None,
    skip_validation: bool = False,
) -> Any:
    from .. import sdk

    overrides: dict[str, Any] = {key: told_value(value) for key, value in assignments(set).items()}
    if name:
        overrides["name"] = name
    job = sdk.loaded(JOB.loader, file, overrides)
    options = {"skip_validation": True} if skip_validation else {}
    shown = written(connection, JOB, sdk.saved(connection, JOB.operations, job, **options))
    if web:
        open_page(connection, shown)
    if not stream:
        return shown
    _stream(connection, shown["name"])
    return JOB.printed(connection, connection.get(JOB.path(shown["name"])))


def _list(
    connection: Connection,
    max_results: int | None = None,
    all_results: bool = False,
    parent_job_name: str | None = None,
    archived_only: bool = False,
    include_archived: bool = False,
) -> Any:
    most = None if all_results else FIRST if max_results is None else max_results
    shown = view(archived_only, include_archived)
    if parent_job_name is None:
        return all_of(connection, JOB, connection.pages(JOB.collection, listViewType=shown), most)
    children = connection.pages(f"/history/v1.0{connection.workspace_path}/runs/{parent_job_name}/children")
    names = [one["runId"] for one in islice(children, most)]
    return all_of(connection, JOB, (connection.get(JOB.path(one)) for one in names))


def _stream(connection: Connection, name: str) -> None:
    """Its log, as it is written, on standard output until it ends. Raises MLError where the job fails."""
    properties = connection.get(JOB.path(name))["properties"]
    page = ((properties.get("services") or {}).get("Studio") or {}).get("endpoint")
    logs = Streamed(connection, properties["jobType"])
    print(f"RunId: {name}\nWeb View: {page}", flush=True)
    details = f"/history/v1.0{connection.workspace_path}/runs/{name}/details"
    looks = 0
    while True:
        run = connection.get(details)
        ended = run["status"] in _ENDED
        for text in logs.new(run.get("logFiles") or {}, ended):
            sys.stdout.write(text)
        sys.stdout.flush()
        if ended:
            break
        time.sleep(_PAUSES_S[min(looks, len(_PAUSES_S) - 1)])
        looks += 1
    print(f"\nExecution Summary\n=================\nRunId: {name}\nWeb View: {page}\n", flush=True)
    if run["status"] == "Failed":
        raise MLError(f"Exception : \n {json.dumps(run.get('error') or 'The job failed.', indent=4)} ")


def _cancel(connection: Connection, name: str) -> None:
    connection.act("POST", f"{JOB.path(name)}/cancel")


def _download(
    connection: Connection,
    name: str,
    download_path: str | None = None,
    output_name: str | None = None,
    all: bool = False,
) -> None:
    from .. import sdk

    if all and output_name:
        raise UsageError("Cannot provide both --all and --output-name.")
    options = {key: value for key, value in {"output_name": output_name, "all": all}.items() if value}
    connection.get(JOB.path(name))
    sdk.called(connection, JOB.operations, "download", name=name, download_path=download_path or ".", **options)


def _services(connection: Connection, name: str, node_index: int = 0) -> Any:
    path = f"/history/v1.0{connection.workspace_path}/runs/{name}/serviceinstances/{node_index}"
    return connection.get(path)["instances"]


def _validate(connection: Connection, file: str, set: list[list[str]] | None = None) -> Any:
    from .. import sdk

    job = sdk.loaded(JOB.loader, file, {key: told_value(value) for key, value in assignments(set).items()})
    result = sdk.called(connection, JOB.operations, "validate", job=job)
    return sdk.as_json(result)


def _connect(connection: Connection, name: str, node_index: int = 0, private_key_file_path: str | None = None) -> None:
    """ssh into a running job, in place of this process. Raises MLError where it cannot be."""
    services: dict[str, Any] = _services(connection, name, node_index)
    found = next((one for one in services.values() if one["type"] == "SSH"), None)
    if found is None:
        raise MLError(
            f"Job '{name}' has no SSH service on node {node_index}. Submit it with one: services, type ssh,"
            " ssh_public_keys. On the platform's machine `smalt connect` opens a shell in any job."
        )
    if found["status"] != "Running":
        error = ((found.get("error") or {}).get("error") or {}).get("message") or ""
        raise MLError(f"The SSH service of job '{name}' is {found['status']}. {error}".rstrip())
    ssh = shutil.which("ssh")
    if ssh is None:
        raise MLError("There is no ssh on the PATH: install OpenSSH's client.")
    if private_key_file_path and not Path(private_key_file_path).expanduser().is_file():
        raise UsageError(f"--private-key-file-path: there is no file {private_key_file_path}.")
    words = ssh_words(ssh, sys.executable, found["endpoint"], name, private_key_file_path)
    variables = {**os.environ, tunnel.TOKEN: connection.token(connection.url)}
    sys.stdout.flush()
    if on_windows():
        sys.exit(subprocess.run(words, env=variables, check=False).returncode)
    os.execve(ssh, words, variables)


def on_windows() -> bool:
    return os.name == "nt"


def ssh_words(ssh: str, python: str, endpoint: str, name: str, key: str | None) -> list[str]:
    """The command line. That it is the right server the tunnel has made sure of: it is TLS, and asks for a token."""
    parts = [python, str(Path(tunnel.__file__).resolve()), endpoint]
    program = subprocess.list2cmdline(parts) if on_windows() else shlex.join(parts)
    unknown = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={os.devnull}", "-o", "LogLevel=ERROR"]
    identity = ["-i", str(Path(key).expanduser()), "-o", "IdentitiesOnly=yes"] if key else []
    return [ssh, "-o", f"ProxyCommand={program.replace('%', '%%')}", *unknown, *identity, f"smalt@{name}"]


COMMANDS = Group(
    GROUP,
    "Jobs: what runs once on a compute.",
    (
        Command(
            GROUP, "create", "Create a job, which runs at once.", _create,
            (
                FILE, NEW_NAME, SET, flag("--stream", "-s", help="Follow its log until it ends."), WEB,
                option("--save-as", "-a", help="Not used any more."),
                flag("--skip-validation", help="Leave out what is checked before it is sent."), *IN_WORKSPACE,
            ),
        ),
        show(GROUP, JOB, WEB),
        Command(
            GROUP, "list", "List jobs, the newest first.", _list,
            (
                option("--max-results", "-r", help=f"The most results to show.  [default: {FIRST}]", type=int),
                flag("--all-results", help="All of them."),
                option("--parent-job-name", "-p", help="Only the children of this job."),
                ARCHIVED_ONLY, INCLUDE_ARCHIVED, *IN_WORKSPACE,
            ),
            columns=f"[].{COLUMNS}",
        ),
        Command(GROUP, "stream", "Follow a job's log until it ends.", _stream, (NAME, *IN_WORKSPACE)),
        Command(GROUP, "cancel", "Cancel a job, and wait for its end.", _cancel, (NAME, *IN_WORKSPACE)),
        Command(
            GROUP, "download", "Download a job's logs and outputs.", _download,
            (
                NAME, option("--download-path", "-p", help="The folder to put them in.  [default: here]"),
                option("--output-name", help="Only the output of this name."),
                flag("--all", help="All outputs and logs."), *IN_WORKSPACE,
            ),
        ),
        update(GROUP, JOB),
        *archive(GROUP, JOB),
        Command(
            GROUP, "show-services", "Show the services of a job on one of its nodes.", _services,
            (NAME, option("--node-index", "-i", help="The node.  [default: 0]", type=int, default=0), *IN_WORKSPACE),
        ),
        Command(
            GROUP, "validate", "Check a job's file without creating it.", _validate, (FILE, SET, *IN_WORKSPACE)
        ),
        Command(
            GROUP, "connect-ssh", "Open a shell by ssh in a running job that has an SSH service.", _connect,
            (
                NAME, option("--node-index", "-i", help="The node.", type=int, default=0),
                option("--private-key-file-path", "-f", help="The private key."), *IN_WORKSPACE,
            ),
        ),
    ),
)  # fmt: skip
