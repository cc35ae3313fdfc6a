"""Blobs against Azurite in one run: a large file through azure-storage-blob, small PUTs driven by wrk.

    python bench/blobs.py [--mib 1024] [--rounds 5] [--seconds 5] [--azurite FOLDER] [--json]

Ours runs behind Envoy with TLS, as in production, and once more without (`plain`); Azurite over plain http, on disk.
FOLDER is where `npm install azurite` ran; without it only ours is measured. Needs `wrk` and `node` on PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import ContainerClient, generate_account_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.operations.service import BlobService
from smalt.blob.protocol.http import BlobProtocol
from smalt.blob.server import BlobApp
from smalt.blob.store.folder import FolderStore
from smalt.settings import STORAGE_SUFFIX, Settings
from smalt.store import tables
from smalt.store.database import Database

AZURITE_ACCOUNT = "devstoreaccount1"
CONTAINER = "bench"
WRK_CONNECTIONS = 16
_SCRIPT = """
local body = string.rep("x", 1024)
local headers = {["x-ms-blob-type"] = "BlockBlob", ["x-ms-version"] = "2023-11-03",
                 ["content-type"] = "application/octet-stream"}
local count = 0
local thread = 0
function setup(t) t:set("thread", thread); thread = thread + 1 end
function request()
  count = count + 1
  return wrk.format("PUT", "%(path)s/%(run)s-" .. thread .. "-" .. count .. "?%(sas)s", headers, body)
end
function done(summary) io.write("NOT2XX " .. summary.errors.status .. "\\n") end
"""


@dataclass(frozen=True)
class Service:
    """One server under test: `url` of the account, and a SAS for it."""

    name: str
    url: str
    sas: str
    ca: str = ""

    def container(self) -> ContainerClient:
        return ContainerClient(self.url, CONTAINER, credential=self.sas, connection_verify=self.ca or True)


def serve(root: Path, listen: int) -> None:
    """The server process: the blob app alone, as uvicorn runs it under the platform. `listen` is a socket it inherits."""
    database = Database(f"sqlite:///{root / 'smalt.db'}")
    with database.write() as connection:
        tables.metadata.create_all(connection)
    store = FolderStore(root / "blobs")
    accounts = Accounts(database, Keyring(Settings(root)))
    port = BlobAccounts(accounts, store)
    port.ensure_account("bench")
    port.ensure_container("bench", CONTAINER)
    service = BlobService(accounts, store, store.staging)
    (root / "sas").write_text(port.sas("bench", "racwdl", 3600))
    config = uvicorn.Config(
        BlobApp(service, None), loop="uvloop", http=BlobProtocol, access_log=False, lifespan="off", log_level="error"
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listen)])
    service.close()


@contextlib.contextmanager
def smalt(root: Path) -> Iterator[list[Service]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    command = [sys.executable, __file__, "--serve", str(root), "--listen", str(listener.fileno())]
    with _process(command, pass_fds=[listener.fileno()]):
        port = listener.getsockname()[1]
        _wait(lambda: (root / "sas").exists())
        sas = (root / "sas").read_text()
        account = f"bench.blob.{STORAGE_SUFFIX}"
        with _envoy(root, port) as (tls_port, ca):
            yield [
                Service("smalt, Envoy + TLS", f"https://localhost:{tls_port}/{account}", sas, ca),
                Service("smalt, plain", f"http://127.0.0.1:{port}/{account}", sas),
            ]


@contextlib.contextmanager
def azurite(folder: Path, root: Path) -> Iterator[Service]:
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # published
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    main = folder / "node_modules/azurite/dist/src/blob/main.js"
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(root)]
    with _process(["node", str(main), "--blobPort", str(port), *options]):
        _wait(lambda: _accepts(port))
        expiry = datetime.now(UTC) + timedelta(hours=1)
        sas = generate_account_sas(AZURITE_ACCOUNT, key, "sco", "racwdl", expiry)
        yield Service("azurite, plain", f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}", sas)


def large_file(services: Sequence[Service], file: Path, rounds: int) -> dict[str, dict[str, float]]:
    """MiB/s of one stream, up and down, of each service: medians; the single figures go to standard error.

    They take turns, on a disk at rest (`sync`): whoever comes second would wait for what the first left to be written.
    """
    found: dict[str, dict[str, list[float]]] = {one.name: {"up MiB/s": [], "down MiB/s": []} for one in services}
    for number in range(rounds):
        for service in services if number % 2 == 0 else reversed(services):
            with service.container() as client:
                os.sync()
                found[service.name]["up MiB/s"].append(_speed(file, lambda client=client: _up(client, file)))
                os.sync()
                found[service.name]["down MiB/s"].append(_speed(file, lambda client=client: _down(client, file)))
                client.delete_blob("large")
    print(json.dumps(found), file=sys.stderr)
    return {name: {way: statistics.median(all_) for way, all_ in ways.items()} for name, ways in found.items()}


def _speed(file: Path, work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return file.stat().st_size / (1 << 20) / (time.perf_counter() - began)


def _up(client: ContainerClient, file: Path) -> None:
    with file.open("rb") as data:
        client.upload_blob("large", data, overwrite=True)


def _down(client: ContainerClient, file: Path) -> None:
    size = sum(len(chunk) for chunk in client.download_blob("large").chunks())
    if size != file.stat().st_size:
        raise SystemExit(f"{client.url}: {size} bytes came back")


def small_puts(service: Service, seconds: int, scratch: Path) -> dict[str, float]:
    """1 kB PUTs to new names, a second; a run with any answer that is not 2xx counts for nothing."""
    base, _, path = service.url.replace("://", "@").partition("/")
    script = scratch / "put.lua"
    run = f"r{time.time_ns():x}"
    script.write_text(_SCRIPT % {"path": f"/{path}/{CONTAINER}", "run": run, "sas": service.sas})
    command = ["wrk", "-t1", f"-c{WRK_CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script)]
    output = subprocess.run([*command, base.replace("@", "://")], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    slow = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    failed = re.search(r"NOT2XX (\d+)", output)
    if not rate or not slow or not failed or int(failed[1]):
        raise SystemExit(f"{service.name}: wrk failed:\n{output}")
    return {"1 kB PUTs/s": float(rate[1]), "p99 ms": float(slow[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[slow[2]]}


@contextlib.contextmanager
def _envoy(root: Path, upstream: int) -> Iterator[tuple[int, str]]:
    """A TLS front as the platform has it, less its other routes."""
    certificate, key = _certificate(root)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    typed = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{typed}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "tls",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{typed}.filters.http.router.v3.Router"}}
        ],
    }
    tls = {
        "@type": f"{typed}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [
                {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
            ]
        },
    }
    config = {
        "static_resources": {
            "listeners": [
                {
                    "name": "tls",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [
                        {
                            "transport_socket": {"name": "tls", "typed_config": tls},
                            "filters": [{"name": "http", "typed_config": manager}],
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "server",
                    "connect_timeout": "1s",
                    "load_assignment": {
                        "cluster_name": "server",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {
                                        "endpoint": {
                                            "address": {
                                                "socket_address": {"address": "127.0.0.1", "port_value": upstream}
                                            }
                                        }
                                    }
                                ]
                            }
                        ],
                    },
                }
            ],
        }
    }
    path = root / "envoy.json"
    path.write_text(json.dumps(config))
    envoy = Path(sys.executable).with_name("envoy")
    with _process([str(envoy), "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "-l", "error"]):
        _wait(lambda: _accepts(port))
        yield port, str(certificate)


def _certificate(root: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = root / "server.pem", root / "server.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    no_password = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password))
    private.chmod(0o600)
    return pem, private


@contextlib.contextmanager
def _process(command: list[str], pass_fds: list[int] | None = None) -> Iterator[None]:
    process = subprocess.Popen(command, pass_fds=pass_fds or [], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait(ready, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > end:
            raise SystemExit("a server did not start")
        time.sleep(0.05)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, dict[str, float]]:
    large = scratch / "large"
    with large.open("wb") as file:
        for _ in range(arguments.mib):
            file.write(os.urandom(1 << 20))
    with contextlib.ExitStack() as stack:
        services: list[Service] = []
        if arguments.azurite:
            (scratch / "azurite").mkdir()
            services.append(stack.enter_context(azurite(arguments.azurite, scratch / "azurite")))
        (scratch / "smalt").mkdir()
        services += stack.enter_context(smalt(scratch / "smalt"))
        for service in services:
            with service.container() as client, contextlib.suppress(ResourceExistsError):
                client.create_container()
        results = large_file(services, large, arguments.rounds)
        for service in services:
            results[service.name] |= small_puts(service, arguments.seconds, scratch)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--azurite", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--listen", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.listen)
        return
    scratch = Path(tempfile.mkdtemp(prefix="blobs-"))
    try:
        results = measure(arguments, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    base = next(iter(results.values())) if arguments.azurite else None
    columns = list(next(iter(results.values())))
    print(f"{'':22}" + "".join(f"{column:>20}" for column in columns))
    for name, values in results.items():
        cells = [
            f"{values[column]:.0f}" + (f" ({values[column] / base[column]:.1f}x)" if base else "") for column in columns
        ]
        print(f"{name:22}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
