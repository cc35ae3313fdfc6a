"""The options of `smalt up`, those that several commands have, and the values that they may take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Shell(StrEnum):
    bash = "bash"
    fish = "fish"
    json = "json"


class Isolation(StrEnum):
    auto = "auto"
    network = "network"
    files = "files"
    off = "off"


class Models(StrEnum):
    any = "any"
    safe = "safe"


class NodeIsolation(StrEnum):
    auto = "auto"
    files = "files"
    off = "off"


class Direction(StrEnum):
    both = "both"
    upstream = "upstream"
    downstream = "downstream"


class Jobs(StrEnum):
    keep = "keep"
    cancel = "cancel"


Root = Annotated[Path | None, typer.Option("--root", help="The folder that holds everything.  [default: ~/.smalt]")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
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
IsolationOption = Annotated[
    Isolation | None, typer.Option(help="What keeps jobs from the platform.  [default: auto, or as last time]")
]
Show = Annotated[
    list[str] | None,
    typer.Option(
        help="A folder or file of this machine that jobs may read; repeatable.  [default: none, or as last time]"
    ),
]
OpenLineage = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|URL",
        help="Where OpenLineage's events of jobs go; '' for nowhere.  [default: nowhere, or as last time]",
    ),
]
ModelsOption = Annotated[
    Models | None,
    typer.Option(help="Which models endpoints load: safe refuses pickles.  [default: any, or as last time]"),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="URL|local",
        help="Ray's dashboard, http://HOST:8265: new clusters have their nodes there; local: a Ray of Smalt's own;"
        " '' for here."
        "  [default: here, or as last time]",
    ),
]
RayToken = Annotated[
    str | None,
    typer.Option(
        "--ray-token-file", metavar="FILE", help="The file with Ray's token.  [default: none, or as last time]"
    ),
]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="The one TLS port.  [default: 7443, or as last time]")]
Workspace = Annotated[str, typer.Option(help="The workspace that it is in.")]
Node = Annotated[int, typer.Option(min=0, help="Which of its nodes, from 0.")]
