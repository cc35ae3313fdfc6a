"""The programs that make up a platform: what `smalt up` has the supervisor run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from smalt.cli import port_holder
from smalt.cli.program import Program
from smalt.cli.root import CliError
from smalt.cli.shell import platform_environment
from smalt.cli.variables import client_variables
from smalt.cli.watch import Health, machine_memory_bytes, memory_limit
from smalt.gateway.addresses import addresses
from smalt.gateway.bootstrap import command
from smalt.settings import LOCAL_RAY, Settings
from smalt.tracking.process import mlflow_server

OF_STORES = ("AWS_", "AZURE_STORAGE_", "GOOGLE_")  # variables that say where an object store is, and open it
OF_RECEIVERS = ("OPENLINEAGE_",)  # those that open the receiver of events, for the server alone
ENVOY_DELAY_S = 0.5  # at most, however often it dies: connections wait for it
CONNECT_S = 10  # to a database: longer than that, a request has no answer


def programs(settings: Settings, environment: Mapping[str, str]) -> list[Program]:
    """Server, Envoy, MLflow, and Ray's head where one is to be kept here.

    The first two wait until their files are made (`smalt.making`). Raises CliError if a binary is missing.
    """
    try:
        envoy = command(settings.envoy_bootstrap)
    except FileNotFoundError as error:
        raise CliError(str(error)) from error
    clean = platform_environment(settings, without_client_variables(settings, environment))
    if settings.postgresql:
        clean.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_S))
    unopened = {name: value for name, value in clean.items() if not name.startswith(OF_RECEIVERS)}
    tracking = {**unopened, **mlflow_server.environment(settings)}  # from the start: the C library reads some of it
    server = [sys.executable, "-P", "-m", "smalt.start", "--root", str(settings.root)]
    most = memory_limit(machine_memory_bytes())
    answers = Health(str(settings.server_socket), "/healthz", memory_bytes=most)
    ready = Health(str(settings.envoy_admin_socket), "/ready", memory_bytes=most)
    # asked in the line in which all its requests wait, which may be long
    healthy = Health(str(settings.mlflow_socket), "/health", silent_s=60.0, memory_bytes=most)
    without = {name: value for name, value in unopened.items() if not name.startswith(OF_STORES)}
    table = [
        Program("server", server, clean, health=answers),
        Program("envoy", envoy, without, stops_last=True, max_delay_s=ENVOY_DELAY_S, health=ready),
        Program(
            mlflow_server.NAME,
            list(mlflow_server.command(settings)),
            tracking,
            on_demand=True,
            health=healthy,
            data_bytes=2 * most,
        ),
    ]
    if settings.ray == LOCAL_RAY:
        from smalt.cli import ray_head  # with all that looks at tasks, which other starts need not import

        table.append(Program(ray_head.NAME, ray_head.command(settings), ray_head.environment(without)))
    for one in table:
        if not os.access(one.command[0], os.X_OK):
            raise CliError(f"{one.name}'s program {one.command[0]} is missing; install Smalt again.")
    return [replace(one, command=_held(settings, one.command)) if one.name == "envoy" else one for one in table]


def _held(settings: Settings, envoy: Sequence[str]) -> list[str]:
    asked = subprocess.run(
        [envoy[0], "--hot-restart-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return port_holder.command(
        settings.run, settings.port, addresses(settings.host), asked.stdout.strip() or "none", envoy
    )


def without_client_variables(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what `smalt env` put there: the platform must not be its own client, nor its jobs ours.

    A CA bundle of the user's own stays: downloads may need it.
    """
    exported = client_variables(settings, "")
    bundles = {name for name in exported if exported[name] == str(settings.tls / "bundle.pem")}
    kept: dict[str, str] = {}
    for name, value in environment.items():
        if name in bundles:
            if Path(value) != settings.tls / "bundle.pem":
                kept[name] = value
        elif name not in exported and not name.startswith(("MLFLOW_", "AZUREML_")):
            kept[name] = value
    return kept
