"""`smalt`: the commands and their options. What they do is in a module for each, imported when the command is used.

The dispatcher `_run` is the one place that imports by name: `smalt --help` and `smalt env` (in shell start-up files)
must not wait for certificates, databases and HTTP clients.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from smalt.arm.errors import ArmError
from smalt.cli.root import CliError
from smalt.cli.version import installed
from smalt.settings import SettingsError

app = typer.Typer(
    name="smalt",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, secrets among them
    rich_markup_mode=None,
)
sp = typer.Typer(help="Service principals: identities with a client secret.", no_args_is_help=True)
app.add_typer(sp, name="sp")
keys = typer.Typer(help="The keys that seal secrets at rest.", no_args_is_help=True)
app.add_typer(keys, name="keys")
storage = typer.Typer(help="The keys of storage accounts.", no_args_is_help=True)
app.add_typer(storage, name="storage")

node = typer.Typer(help="Other machines, as nodes of clusters.", no_args_is_help=True)
app.add_typer(node, name="node")

compute = typer.Typer(help="Clusters whose nodes another system makes.", no_args_is_help=True)
app.add_typer(compute, name="compute")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(installed())
        raise typer.Exit


class Shell(StrEnum):
    bash = "bash"
    fish = "fish"
    json = "json"


class Isolation(StrEnum):
    auto = "auto"
    network = "network"
    files = "files"
    off = "off"


class NodeIsolation(StrEnum):
    auto = "auto"
    files = "files"
    off = "off"


class Jobs(StrEnum):
    keep = "keep"
    cancel = "cancel"


Root = Annotated[Path | None, typer.Option("--root", help="The folder that holds everything.  [default: ~/.smalt]")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The service principal's name or client id.")]
Cert = Annotated[Path | None, typer.Option("--cert", help="Sign in with this certificate (PEM, RSA), not a secret.")]
NewCert = Annotated[
    Path | None, typer.Option("--create-cert", help="Make a certificate and its key, and write both to this new file.")
]
Host = Annotated[
    str | None, typer.Option(help="The name in certificate and URLs.  [default: localhost, or as last time]")
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="postgresql://USER@HOST/NAME; the password also from PGPASSWORD or ~/.pgpass."
        "  [default: SQLite in the root, or as last time]",
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where blobs are: s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or a folder; who we are"
        " there is in AWS_…, AZURE_STORAGE_… or GOOGLE_… variables.  [default: blobs/ in the root, or as last time]",
    ),
]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="The one TLS port.  [default: 7443, or as last time]")]


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Azure Machine Learning on machines you own."""


@app.command()
def up(
    root: Root = None,
    host: Host = None,
    port: Port = None,
    database_url: Database = None,
    store_url: Store = None,
    isolation: Annotated[
        Isolation | None, typer.Option(help="What keeps jobs from the platform.  [default: auto, or as last time]")
    ] = None,
    show: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder or file of this machine that jobs may read; repeatable.  [default: none, or as last time]"
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; return when ready.")] = False,
) -> None:
    """Start the platform, in the foreground unless --detach."""
    told = {
        "host": host,
        "port": port,
        "database_url": database_url,
        "store_url": store_url,
        "isolation": isolation and str(isolation),
    }
    told["show"] = ":".join(str(Path(one).expanduser().absolute()) for one in show if one) if show else None
    _run("up", root=root, told=told, detach=detach)


@app.command()
def down(
    root: Root = None,
    jobs: Annotated[
        Jobs, typer.Option(help="Running jobs go on and are adopted at the next up, or are cancelled.")
    ] = Jobs.keep,
    everything: Annotated[
        bool, typer.Option("--all", help="End jobs, replicas and builds too, within seconds.")
    ] = False,
) -> None:
    """Stop the platform, and say what goes on."""
    if jobs is Jobs.cancel:
        _run("cancel", root=root)
    _run("down", root=root, everything=everything)


@app.command()
def status(root: Root = None, json: Json = False) -> None:
    """Show whether the platform answers, and its processes. The exit code is 0 if it does, otherwise 3."""
    _run("status", root=root, as_json=json)


@app.command()
def doctor(root: Root = None, json: Json = False) -> None:
    """Show what this machine can and cannot do for Smalt, and what helps. The exit code is 1 if Smalt cannot run."""
    _run("doctor", root=root, as_json=json)


@app.command()
def env(
    root: Root = None,
    shell: Annotated[Shell, typer.Option(help="Whose syntax.")] = Shell.bash,
) -> None:
    """Print the variables that redirect Azure clients.

    Use it as: eval "$(smalt env)"
    """
    _run("env", root=root, shell=shell.value)


Workspace = Annotated[str, typer.Option(help="The workspace that it is in.")]
Node = Annotated[int, typer.Option(min=0, help="Which of its nodes, from 0.")]


@app.command()
def logs(
    job: Annotated[str, typer.Argument(help="The job's name.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    node: Node = 0,
    workspace: Workspace = "default",
    root: Root = None,
) -> None:
    """Print what a job says. With --follow the exit code is 0 only if the job completes."""
    _run("logs", root=root, job=job, workspace=workspace, node=node, follow=follow)


@app.command()
def connect(
    job: Annotated[str, typer.Argument(help="The job's name.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="What to run there; a shell.", metavar="[-- COMMAND]")
    ] = None,
    node: Node = 0,
    workspace: Workspace = "default",
    root: Root = None,
) -> None:
    """Run a shell, or a command, behind the walls of a job that runs. The exit code is the command's."""
    _run("connect", root=root, job=job, workspace=workspace, node=node, words=command or [])


@app.command()
def rerun(
    job: Annotated[str, typer.Argument(help="The job's name.")],
    name: Annotated[str, typer.Option(help="The new job's name.  [default: JOB-rerun-TIME]")] = "",
    changed_ok: Annotated[bool, typer.Option("--changed-ok", help="Also where its inputs have changed.")] = False,
    workspace: Workspace = "default",
    root: Root = None,
) -> None:
    """Submit a command job once more, from the same bits; refuses where an input has changed, and says which."""
    _run("rerun", root=root, job=job, workspace=workspace, name=name, changed_ok=changed_ok)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="A job's name.")],
    second: Annotated[str, typer.Argument(help="Another's.")],
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Show in what two jobs differ: code, exact versions, inputs, parameters. The exit code is 1 if they do."""
    _run("rerun", "diff", root=root, first=first, second=second, workspace=workspace, as_json=json)


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once; so it is in a pipe.")] = False,
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Show who has which nodes and who waits for them, as it changes, until Ctrl-C."""
    _run("top", root=root, workspace=workspace, once=once, as_json=json)


@app.command()
def quickstart(root: Root = None, port: Port = None) -> None:
    """Run a whole project on the official SDK.

    From data to a deployed model; starts the platform if need be.
    """
    _run("quickstart", root=root, told={"port": port})


@app.command("az-setup")
def az_setup(root: Root = None) -> None:
    """Prepare Microsoft's az for this platform: a configuration of its own, logged in, with the extension ml.

    Use it as: eval "$(smalt env)" && eval "$(smalt az-setup)"
    """
    _run("az_setup", root=root)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def ml(context: typer.Context) -> None:
    """The commands of `az ml` without az: smalt ml job list. `smalt ml --help` names them."""
    _run("ml", arguments=context.args)


@sp.command()
def create(
    name: Name,
    root: Root = None,
    json: Json = False,
    issuer: Annotated[str, typer.Option(help="Trust tokens of this issuer instead of a secret.")] = "",
    subject: Annotated[str, typer.Option(help="The subject that such a token must have.")] = "",
    audience: Annotated[str, typer.Option(help="The audience that such a token must have.")] = "",
    jwks: Annotated[Path | None, typer.Option(help="The file with the issuer's public keys (a JWK set).")] = None,
    cert: Cert = None,
    create_cert: NewCert = None,
) -> None:
    """Create a service principal and print what its user sets, the secret once.

    With --create-cert or --cert it signs in with a certificate, with --issuer, --subject and --jwks with a
    federated token (AZURE_FEDERATED_TOKEN_FILE); it has no secret then.
    """
    trusted = {"issuer": issuer, "subject": subject, "audience": audience, "jwks": jwks}
    certificate = {"existing": cert, "new": create_cert}
    _run("principals", "create", root=root, name=name, as_json=json, trusted=trusted, certificate=certificate)


@sp.command("list")
def list_(root: Root = None, json: Json = False) -> None:
    """List the service principals."""
    _run("principals", "list_all", root=root, as_json=json)


@sp.command()
def delete(name: Name, root: Root = None, json: Json = False) -> None:
    """Delete a service principal; nobody signs in with it any more."""
    _run("principals", "delete", root=root, name=name, as_json=json)


@sp.command()
def rotate(name: Name, root: Root = None, json: Json = False, cert: Cert = None, create_cert: NewCert = None) -> None:
    """Replace a service principal's secret or certificate and print the new one.

    A secret, unless --create-cert or --cert is given; all earlier ones end.
    """
    certificate = {"existing": cert, "new": create_cert}
    _run("principals", "rotate", root=root, name=name, as_json=json, certificate=certificate)


@keys.command("rotate")
def rotate_keys(root: Root = None, json: Json = False) -> None:
    """Make a new key, seal all secrets again with it, and drop the old one. May be interrupted and run again."""
    _run("keys", "rotate", root=root, as_json=json)


@keys.command("list")
def list_keys(root: Root = None, json: Json = False) -> None:
    """List the keys by their ids, and how many values each seals."""
    _run("keys", "list_all", root=root, as_json=json)


@storage.command("rotate")
def rotate_storage(
    account: Annotated[str, typer.Argument(help="The storage account.")],
    key: Annotated[str, typer.Option(help="key1 or key2.  [default: the older]")] = "",
    root: Root = None,
    json: Json = False,
) -> None:
    """Replace one key of a storage account; what it has signed is refused from then on."""
    _run("storage", "rotate", root=root, account=account, key=key, as_json=json)


@storage.command("list")
def list_storage(root: Root = None, json: Json = False) -> None:
    """List the storage accounts, the age of their keys, and which of the two signs."""
    _run("storage", "list_all", root=root, as_json=json)


NodeName = Annotated[str, typer.Argument(help="The node's name.")]


@node.command("add")
def add_node(
    name: NodeName,
    compute: Annotated[str, typer.Option(help="The cluster whose node it is.")],
    workspace: Annotated[str, typer.Option(help="The workspace of that cluster.")] = "default",
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, to be shown; may be repeated.")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Write it to this new file, for its owner alone.")
    ] = None,
    root: Root = None,
    json: Json = False,
) -> None:
    """Let another machine be a node of a cluster: prints the file with which it dials in, its token once."""
    told = {"name": name, "compute": compute, "workspace": workspace, "labels": label or [], "to": token_file}
    _run("nodes", "add", root=root, as_json=json, **told)


@node.command("remove")
def remove_node(name: NodeName, root: Root = None, json: Json = False) -> None:
    """A machine is no node any more: its token opens nothing, and what it runs is lost."""
    _run("nodes", "remove", root=root, name=name, as_json=json)


@node.command("list")
def list_nodes(root: Root = None, json: Json = False) -> None:
    """List the nodes, and which of them are connected."""
    _run("nodes", "list_all", root=root, as_json=json)


@node.command("run")
def run_node(
    token_file: Annotated[Path, typer.Option("--token-file", help="What `smalt node add` has written.")],
    server: Annotated[str, typer.Option(help="https://HOST:PORT of the platform.  [default: as in the file]")] = "",
    name: Annotated[str, typer.Option(help="The node's name, to be sure.  [default: as in the file]")] = "",
    root: Annotated[
        Path | None, typer.Option("--root", help="The folder that holds all of this node.  [default: ~/.smalt-node]")
    ] = None,
    isolation: Annotated[NodeIsolation, typer.Option(help="What keeps jobs from this machine.")] = NodeIsolation.auto,
    blobs: Annotated[
        Path | None, typer.Option(help="The platform's folder of blobs, where this machine sees it.")
    ] = None,
) -> None:
    """On the other machine: be a node, in the foreground. Jobs go on when it ends, and are adopted."""
    told = {"token_file": token_file, "server": server, "name": name, "isolation": str(isolation), "blobs": blobs}
    _run("nodes", root=root, **told)


ComputeName = Annotated[str, typer.Argument(help="The cluster's name.")]


@compute.command("attach")
def attach_compute(
    name: ComputeName,
    ray: Annotated[str, typer.Option(help="Ray's dashboard: http://HOST:8265.")],
    size: Annotated[str, typer.Option(help="What a node is: processors and GPUs.")] = "Standard_DS3_v2",
    min: Annotated[int, typer.Option(min=0, help="Nodes that are there without a job.")] = 0,
    max: Annotated[int, typer.Option(min=1, help="Nodes at most.")] = 1,
    idle: Annotated[int, typer.Option(min=1, help="Seconds after which an idle node is given back.")] = 120,
    token_file: Annotated[Path | None, typer.Option(help="The file with Ray's token (RAY_AUTH_MODE=token).")] = None,
    folder: Annotated[str, typer.Option(help="The nodes' folder on Ray's machines.")] = "~/.smalt-ray",
    isolation: Annotated[NodeIsolation, typer.Option(help="What keeps jobs from Ray's machines.")] = NodeIsolation.auto,
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Make a cluster whose nodes are on a Ray cluster, as many as its jobs need."""
    told = {"size": size, "least": min, "most": max, "idle_s": idle, "token_file": token_file, "folder": folder}
    told |= {"isolation": str(isolation), "workspace": workspace, "name": name, "ray": ray, "as_json": json}
    _run("computes", "attach", root=root, **told)


@compute.command("detach")
def detach_compute(name: ComputeName, workspace: Workspace = "default", root: Root = None, json: Json = False) -> None:
    """Delete such a cluster: its nodes end, and Ray has their room again."""
    _run("computes", "detach", root=root, name=name, workspace=workspace, as_json=json)


def _run(command: str, function: str = "run", **options: Any) -> None:
    """Call `function` of the module of `command`, which returns the exit code; any but 0 ends ours.

    An error is one line.
    """
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="replace")  # a locale without "✓" is no reason to fail
    try:
        code = getattr(import_module(f"smalt.cli.commands.{command}"), function)(**options)
    except CliError as error:
        print(f"smalt: {error}", file=sys.stderr)
        code = error.code
    except SettingsError as error:
        print(f"smalt: {error}", file=sys.stderr)
        code = 1
    except ArmError as error:
        print("smalt:", " ".join([error.message, *(one.message for one in error.details)]), file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    if code:
        raise typer.Exit(code)


if __name__ == "__main__":
    app()
