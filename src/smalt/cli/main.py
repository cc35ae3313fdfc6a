"""`smalt`: the commands and their options. What they do: a module of `commands/` for each, imported when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalt.cli import groups
from smalt.cli.options import (
    Database,
    Direction,
    Host,
    IsolationOption,
    Jobs,
    Json,
    ModelsOption,
    Node,
    OpenLineage,
    Port,
    Ray,
    RayToken,
    Root,
    Shell,
    Show,
    Store,
    Workspace,
)
from smalt.cli.run import run
from smalt.cli.version import installed

app = typer.Typer(
    name="smalt",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, secrets among them
    rich_markup_mode=None,
)
app.add_typer(groups.sp, name="sp")
app.add_typer(groups.keys, name="keys")
app.add_typer(groups.storage, name="storage")
app.add_typer(groups.node, name="node")
app.add_typer(groups.compute, name="compute")
app.add_typer(groups.endpoint, name="endpoint")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(installed())
        raise typer.Exit


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
    isolation: IsolationOption = None,
    show: Show = None,
    openlineage: OpenLineage = None,
    models: ModelsOption = None,
    ray: Ray = None,
    ray_token_file: RayToken = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; return when ready.")] = False,
) -> None:
    """Start the platform, in the foreground unless --detach."""
    told = {
        "host": host,
        "port": port,
        "database_url": database_url,
        "store_url": store_url,
        "isolation": isolation and str(isolation),
        "models": models and str(models),
        "ray": ray,
        "ray_token_file": ray_token_file and str(Path(ray_token_file).expanduser().absolute()),
        "openlineage": openlineage and (openlineage if "://" in openlineage else str(Path(openlineage).absolute())),
    }
    told["show"] = ":".join(str(Path(one).expanduser().absolute()) for one in show if one) if show else None
    run("up", root=root, told=told, detach=detach)


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
        run("cancel", root=root)
    run("down", root=root, everything=everything)


@app.command()
def status(root: Root = None, json: Json = False) -> None:
    """Show whether the platform answers, and its processes. The exit code is 0 if it does, otherwise 3."""
    run("status", root=root, as_json=json)


@app.command()
def login(root: Root = None) -> None:
    """Print a link that opens the Studio and logs a browser in, once, within ten minutes."""
    run("login", root=root)


@app.command()
def doctor(root: Root = None, json: Json = False) -> None:
    """Show what this machine can and cannot do for Smalt, and what helps. The exit code is 1 if Smalt cannot run."""
    run("doctor", root=root, as_json=json)


@app.command()
def env(
    root: Root = None,
    shell: Annotated[Shell, typer.Option(help="Whose syntax.")] = Shell.bash,
) -> None:
    """Print the variables that redirect Azure clients.

    Use it as: eval "$(smalt env)"
    """
    run("env", root=root, shell=shell.value)


@app.command()
def logs(
    job: Annotated[str, typer.Argument(help="The job's name.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    node: Node = 0,
    workspace: Workspace = "default",
    root: Root = None,
) -> None:
    """Print what a job says. With --follow the exit code is 0 only if the job completes."""
    run("logs", root=root, job=job, workspace=workspace, node=node, follow=follow)


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
    run("connect", root=root, job=job, workspace=workspace, node=node, words=command or [])


@app.command()
def services(
    job: Annotated[str, typer.Argument(help="The job's name.")],
    node: Node = 0,
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Show the services of a job; for those that run a link that opens them in a browser, once within a minute."""
    run("services", root=root, job=job, workspace=workspace, node=node, as_json=json)


@app.command("ssh-proxy")
def ssh_proxy(
    job: Annotated[str, typer.Argument(help="The job's name.")],
    node: Node = 0,
    workspace: Workspace = "default",
    root: Root = None,
) -> None:
    """The way of ssh into a job that has an SSH service: ssh -o ProxyCommand="smalt ssh-proxy JOB" JOB"""
    run("services", "proxy", root=root, job=job, workspace=workspace, node=node)


@app.command()
def rerun(
    job: Annotated[str, typer.Argument(help="The job's name.")],
    name: Annotated[str, typer.Option(help="The new job's name.  [default: JOB-rerun-TIME]")] = "",
    changed_ok: Annotated[bool, typer.Option("--changed-ok", help="Also where its inputs have changed.")] = False,
    force_rerun: Annotated[
        bool, typer.Option("--force-rerun", help="Run the steps of a pipeline that could be reused, too.")
    ] = False,
    workspace: Workspace = "default",
    root: Root = None,
) -> None:
    """Submit a job once more, from the same bits; refuses where what it was made from has changed, and says which."""
    run("rerun", root=root, job=job, workspace=workspace, name=name, changed_ok=changed_ok, force=force_rerun)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="A job's name.")],
    second: Annotated[str, typer.Argument(help="Another's.")],
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Show in what two jobs differ: code, exact versions, inputs, parameters. The exit code is 1 if they do."""
    run("rerun", "diff", root=root, first=first, second=second, workspace=workspace, as_json=json)


@app.command()
def lineage(
    what: Annotated[
        str, typer.Argument(help="model:NAME:VERSION, data:NAME:VERSION, job:NAME or deployment:ENDPOINT/NAME.")
    ],
    direction: Annotated[Direction, typer.Option(help="Where to look.")] = Direction.both,
    depth: Annotated[int, typer.Option(min=1, max=20, help="How many steps to follow.")] = 5,
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Show from which code, data and jobs something came, and what came of it."""
    run("lineage", root=root, what=what, workspace=workspace, direction=str(direction), depth=depth, as_json=json)


@app.command()
def check(
    endpoint: Annotated[str, typer.Argument(help="The online endpoint's name.")],
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Show what an endpoint lacks for production, item by item, with what helps. The exit code is 1 if anything."""
    run("check", root=root, endpoint=endpoint, workspace=workspace, as_json=json)


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once; so it is in a pipe.")] = False,
    workspace: Workspace = "default",
    root: Root = None,
    json: Json = False,
) -> None:
    """Show who has which nodes and who waits for them, as it changes, until Ctrl-C."""
    run("top", root=root, workspace=workspace, once=once, as_json=json)


@app.command()
def quickstart(root: Root = None, port: Port = None) -> None:
    """Run a whole project on the official SDK.

    From data to a deployed model; starts the platform if need be.
    """
    run("quickstart", root=root, told={"port": port})


@app.command("az-setup")
def az_setup(root: Root = None) -> None:
    """Prepare Microsoft's az for this platform: a configuration of its own, logged in, with the extension ml.

    Use it as: eval "$(smalt env)" && eval "$(smalt az-setup)"
    """
    run("az_setup", root=root)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def ml(context: typer.Context) -> None:
    """The commands of `az ml` without az: smalt ml job list. `smalt ml --help` names them."""
    run("ml", arguments=context.args)


if __name__ == "__main__":
    app()
