"""The platform on the root: its settings, its port, its certificates, and whether it runs."""

from __future__ import annotations

import asyncio
import shlex
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from smalt.cli.port_holder import holds
from smalt.cli.ports import taken
from smalt.cli.probe import Probe
from smalt.cli.root import CliError, holder
from smalt.cli.supervisor import View, read_view
from smalt.cli.version import installed
from smalt.config import read_settings
from smalt.doctor.finding import Finding, no, none, ok, warn
from smalt.doctor.machine import Machine, as_root
from smalt.gateway.addresses import addresses
from smalt.settings import SettingsError

SOON = timedelta(days=30)
_STORES = {  # of the system: the file with all that it trusts, where to put one more, how to make the file anew
    "etc/ssl/certs/ca-certificates.crt": "cp {} /usr/local/share/ca-certificates/smalt.crt && update-ca-certificates",
    "etc/pki/tls/certs/ca-bundle.crt": "cp {} /etc/pki/ca-trust/source/anchors/smalt.pem && update-ca-trust",
    "etc/ssl/ca-bundle.pem": "cp {} /etc/pki/trust/anchors/smalt.pem && update-ca-certificates",
    "etc/ssl/cert.pem": "cp {} /usr/local/share/ca-certificates/smalt.crt && update-ca-certificates",
}


def settings(machine: Machine) -> Finding:
    path = machine.settings.root / "config.json"
    try:
        read_settings(machine.settings.root)
    except SettingsError as error:
        return no(str(error).rstrip("."), "Smalt cannot start", f"edit {shlex.quote(str(path))}")
    return ok(f"{machine.settings.url}, {'as in config.json' if path.exists() else 'by default'}")


def port(machine: Machine) -> Finding:
    number, wanted = machine.settings.port, addresses(machine.settings.host)
    if _supervisor(machine) is not None or holds(machine.settings.run, number, wanted):
        return ok(f"{number}, which this root's platform has")
    if why := taken(number):
        free = next((one for one in range(max(number + 1, 7443), 65536) if not taken(one)), 7443)
        fact = why.partition(";")[0].removeprefix("port ")
        return no(fact, "Smalt cannot start with this port", machine.smalt(f"up --port {free}"))
    return ok(f"{number} is free")


def server(machine: Machine) -> Finding:
    pid, here = _supervisor(machine), installed()
    means = "clients get no answer"
    if pid is None:
        return none("does not run", means, machine.smalt("up --detach"))
    view = read_view(machine.settings.run / "supervisor.json")
    again = f"{machine.smalt('down')} && {machine.smalt('up --detach')}"
    if view is None or not view.ready:
        return warn(f"process {pid} is starting, or stopping", means, machine.smalt("status"))
    if not asyncio.run(Probe(machine.settings).answers()):
        return warn(f"process {pid} runs and does not answer", means, again)
    return _same_version(view, here, again)


def _same_version(view: View, here: str, again: str) -> Finding:
    if view.version != here:
        return warn(f"{view.version} runs, and this is {here}", "what is new here is not in what runs", again)
    return ok(f"{here} answers at {view.url}")


def certificates(machine: Machine) -> Finding:
    return certificates_found(machine, datetime.now(UTC))


def certificates_found(machine: Machine, now: datetime) -> Finding:
    """The authority, the server's certificate, and the bundle by which clients trust them."""
    tls, means = machine.settings.tls, "clients refuse to connect"
    again = f"{machine.smalt('down')}; {machine.smalt('up --detach')}"
    if not (tls / "ca.pem").exists():
        return none("made at the first start", "there is nothing to trust yet", machine.smalt("up --detach"))
    ends: list[datetime] = []
    for name in ("ca.pem", "server.pem"):
        try:
            ends.append(x509.load_pem_x509_certificate((tls / name).read_bytes()).not_valid_after_utc)
        except (OSError, ValueError):
            return warn(f"{tls / name} cannot be read", means, again)
        if ends[-1] < now + SOON:
            gone = "has ended" if ends[-1] < now else "ends"
            return warn(f"{name} {gone} on {ends[-1]:%Y-%m-%d}", means, again)
    if not _has(tls / "bundle.pem", tls / "ca.pem"):
        return warn("bundle.pem lacks Smalt's authority", means, again)
    return ok(f"the authority holds until {ends[0]:%Y-%m-%d}, the server's until {ends[1]:%Y-%m-%d}")


def trust(machine: Machine) -> Finding:
    """Whether programs trust the platform that know nothing of `smalt env`: browsers, curl."""
    authority = machine.settings.tls / "ca.pem"
    means = "browsers, and shells without smalt env, warn of the certificate"
    if not authority.exists():
        return none("no authority yet", "there is nothing to trust yet")
    for file, add in _STORES.items():
        if (machine.base / file).exists():
            if _has(machine.base / file, authority):
                return ok(f"the system's store has Smalt's authority (/{file})")
            remedy = as_root(f"sh -c {shlex.quote(add.format(shlex.quote(str(authority))))}")
            return none(f"not in the system's store (/{file})", means, remedy)
    return none("the system has no store of authorities", means, 'eval "$(smalt env)"')


def _has(bundle: Path, authority: Path) -> bool:
    try:
        return ssl.PEM_cert_to_DER_cert(authority.read_text()) in _certificates(bundle)
    except (OSError, ValueError):
        return False


def _certificates(bundle: Path) -> list[bytes]:
    """Each certificate of a file, in DER. Raises OSError or ValueError."""
    text, end = bundle.read_text(errors="replace"), "-----END CERTIFICATE-----"
    begun = (one.partition("-----BEGIN CERTIFICATE-----")[2] for one in text.split(end)[:-1])
    return [ssl.PEM_cert_to_DER_cert(f"-----BEGIN CERTIFICATE-----{one}{end}\n") for one in begun]


def _supervisor(machine: Machine) -> int | None:
    """The process that runs this root's platform; None also where another user's cannot be seen."""
    try:
        return holder(machine.settings.root)
    except CliError:
        return None
