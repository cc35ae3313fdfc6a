"""The commands that come in groups: `smalt sp create`, `smalt keys rotate`, … What they do: `cli/commands/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalt.cli.options import Json, NodeIsolation, Root, Workspace
from smalt.cli.run import run

sp = typer.Typer(help="Service principals: identities with a client secret.", no_args_is_help=True)
keys = typer.Typer(help="The keys that seal secrets at rest.", no_args_is_help=True)
storage = typer.Typer(help="The keys of storage accounts.", no_args_is_help=True)
node = typer.Typer(help="Other machines, as nodes of clusters.", no_args_is_help=True)
compute = typer.Typer(help="Clusters: nodes that another system makes, and nodes taken back.", no_args_is_help=True)
endpoint = typer.Typer(help="Online endpoints: what changed, and the way back.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The service principal's name or client id.")]
Cert = Annotated[Path | None, typer.Option("--cert", help="Sign in with this certificate (PEM, RSA), not a secret.")]
NewCert = Annotated[
    Path | None, typer.Option("--create-cert", help="Make a certificate and its key, and write both to this new file.")
]
NodeName = Annotated[str, typer.Argument(help="The node's name.")]
EndpointName = Annotated[str, typer.Argument(help="The endpoint's name.")]
ComputeName = Annotated[str, typer.Argument(help="The cluster's name.")]


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
    run("principals", "create", root=root, name=name, as_json=json, trusted=trusted, certificate=certificate)


@sp.command("list")
def list_(root: Root = None, json: Json = False) -> None:
    """List the service principals."""
    run("principals", "list_all", root=root, as_json=json)


@sp.command()
def delete(name: Name, root: Root = None, json: Json = False) -> None:
    """Delete a service principal; nobody signs in with it any more."""
    run("principals", "delete", root=root, name=name, as_json=json)


@sp.command()
def rotate(name: Name, root: Root = None, json: Json = False, cert: Cert = None, create_cert: NewCert = None) -> None:
    """Replace a service principal's secret or certificate and print the new one.

    A secret, unless --create-cert or --cert is given; all earlier ones end.
    """
    certificate = {"existing": cert, "new": create_cert}
    run("principals", "rotate", root=root, name=name, as_json=json, certificate=certificate)


@keys.command("rotate")
def rotate_keys(root: Root = None, json: Json = False) -> None:
    """Make a new key, seal all secrets again with it, and drop the old one. May be interrupted and run again."""
    run("keys", "rotate", root=root, as_json=json)


@keys.command("list")
def list_keys(root: Root = None, json: Json = False) -> None:
    """List the keys by their ids, and how many values each seals."""
    run("keys", "list_all", root=root, as_json=json)


@storage.command("rotate")
def rotate_storage(
    account: Annotated[str, typer.Argument(help="The storage account.")],
    key: Annotated[str, typer.Option(help="key1 or key2.  [default: the older]")] = "",
    root: Root = None,
    json: Json = False,
) -> None:
    """Replace one key of a storage account; what it has signed is refused from then on."""
    run("storage", "rotate", root=root, account=account, key=key, as_json=json)


@storage.command("list")
def list_storage(root: Root = None, json: Json = False) -> None:
    """List the storage accounts, the age of their keys, and which of the two signs."""
    run("storage", "list_all", root=root, as_json=json)


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
    run("nodes", "add", root=root, as_json=json, **told)


@node.command("remove")
def remove_node(name: NodeName, root: Root = None, json: Json = False) -> None:
    """A machine is no node any more: its token opens nothing, and what it runs is lost."""
    run("nodes", "remove", root=root, name=name, as_json=json)


@node.command("list")
def list_nodes(root: Root = None, json: Json = False) -> None:
    """List the nodes, and which of them are connected."""
    run("nodes", "list_all", root=root, as_json=json)


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
    address: Annotated[
        str, typer.Option(help="Where other machines find this one.  [default: its way to the platform]")
    ] = "",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Where requests come to endpoints' instances.  [default: a free one from 7500]"
        ),
    ] = 0,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Its GPUs among the machine's: indices or UUIDs with ',' between.  [default: all]"
        ),
    ] = None,
    notify_fd: Annotated[
        int | None, typer.Option(min=0, help="A descriptor on which it says once that it is connected.")
    ] = None,
) -> None:
    """On the other machine: be a node, in the foreground. Jobs go on when it ends, and are adopted."""
    told = {"token_file": token_file, "server": server, "name": name, "isolation": str(isolation), "blobs": blobs}
    run("nodes", root=root, address=address, gpus=gpus, port=port, notify=notify_fd, **told)


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
    run("computes", "attach", root=root, **told)


@compute.command("preempt")
def preempt_compute(
    name: ComputeName,
    nodes: Annotated[int, typer.Option(min=1, help="How many of its nodes.")] = 1,
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Take nodes from jobs of low priority, as where others needed them: each gets SIGTERM and is queued again."""
    run("computes", "preempt", root=root, name=name, nodes=nodes, workspace=workspace, as_json=json)


@compute.command("detach")
def detach_compute(name: ComputeName, workspace: Workspace = "default", root: Root = None, json: Json = False) -> None:
    """Delete such a cluster: its nodes end, and Ray has their room again."""
    run("computes", "detach", root=root, name=name, workspace=workspace, as_json=json)


@endpoint.command("history")
def endpoint_history(
    name: EndpointName,
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="How far back.")] = 60,
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Changes of traffic, deployments and models on one axis with requests and latency."""
    run("endpoints", "history", root=root, name=name, minutes=minutes, workspace=workspace, as_json=json)


@endpoint.command("rollback")
def endpoint_rollback(
    name: EndpointName,
    deployment: Annotated[
        str, typer.Option(help="Undo the last change of this one.  [default: of traffic or of what takes it]")
    ] = "",
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Undo the last change of traffic, or of a deployment that takes some, and wait until that is live."""
    run("endpoints", "rollback", root=root, name=name, deployment=deployment, workspace=workspace, as_json=json)
