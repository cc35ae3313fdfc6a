"""The platform's own certificate authority and its server certificate.

Clients trust us through `bundle.pem` (REQUESTS_CA_BUNDLE), which holds the public authorities too, so that the same
process still reaches the rest of the world. ECDSA P-256: keys and handshakes cost a fraction of RSA's.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smalt.auth.secret_files import private_folder, replace_file
from smalt.settings import STORAGE_SUFFIX, Settings, services_host

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)  # the longest that all clients accept
RENEW_BEFORE = timedelta(days=30)
LOOK_EVERY_S = 6 * 3600.0
BACKDATED = timedelta(hours=1)  # for clients whose clock is behind
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Certificates:
    """Where the files are. `renewed` tells whether this call wrote a new server certificate."""

    ca: Path
    server: Path
    server_key: Path
    bundle: Path
    renewed: bool


def ensure_certificates(settings: Settings, now: datetime | None = None) -> Certificates:
    """Make what is missing in `settings.tls`, renew what ends within 30 days or names another host. Idempotent."""
    now = now or datetime.now(UTC)
    folder = settings.tls
    private_folder(folder)
    paths = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key", folder / "bundle.pem", False)
    authority = _load_pair(paths.ca, folder / "ca.key")
    if authority is None or authority[0].not_valid_after_utc < now + SERVER_LIFETIME:
        authority = _new_authority(now)
        _write_pair(paths.ca, folder / "ca.key", *authority)
    server = _load_pair(paths.server, paths.server_key)
    renewed = server is None or not _fits(server[0], authority[0], settings.host, now)
    if renewed:
        _write_pair(paths.server, paths.server_key, *_new_server(authority, settings.host, now))
    bundle = Path(certifi.where()).read_bytes().rstrip() + b"\n\n# Smalt\n" + paths.ca.read_bytes()
    if not paths.bundle.exists() or paths.bundle.read_bytes() != bundle:
        replace_file(paths.bundle, bundle, 0o644)
    return Certificates(paths.ca, paths.server, paths.server_key, paths.bundle, renewed)


def keep_renewed(settings: Settings, stopped: threading.Event, every_s: float = LOOK_EVERY_S) -> None:
    """`ensure_certificates` again and again until `stopped`: for a thread of its own. Envoy takes over what is new."""
    while not stopped.wait(every_s):
        try:
            if ensure_certificates(settings).renewed:
                _log.info("the server's certificate was renewed")
        except OSError:
            _log.exception("the server's certificate could not be looked at; the next try is in %.0f s", every_s)


Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _new_authority(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Smalt"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Smalt CA {serial % 16**8:08x}"),  # two roots: two names
        ]
    )
    builder = _builder(name, name, key, now, CA_LIFETIME).serial_number(serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return builder.sign(key, hashes.SHA256()), key


def _new_server(authority: Pair, host: str, now: datetime) -> Pair:
    ca, ca_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    builder = _builder(name, ca.subject, key, now, SERVER_LIFETIME).serial_number(x509.random_serial_number())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = builder.add_extension(issuer_id, critical=False)
    return builder.sign(ca_key, hashes.SHA256()), key


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
    builder = builder.not_valid_before(now - BACKDATED).not_valid_after(now + lifetime)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(host: str) -> list[x509.GeneralName]:
    """What the certificate is for: the host, this machine, and under wildcard names storage accounts and services."""
    texts = dict.fromkeys([host, "localhost", "127.0.0.1", "::1", f"*.blob.{STORAGE_SUFFIX}"])
    if below := services_host(host):
        texts[f"*.{below}"] = None
    return [_general_name(text) for text in texts]


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text.encode("idna").decode() if not text.isascii() else text)


def _fits(server: x509.Certificate, ca: x509.Certificate, host: str, now: datetime) -> bool:
    try:
        server.verify_directly_issued_by(ca)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with the old one, a new one mends it
        return False
    return set(names) == set(_names(host)) and server.not_valid_after_utc > now + RENEW_BEFORE


def _load_pair(certificate: Path, key: Path) -> Pair | None:
    """The pair, or None where a file is missing, broken, or does not belong to the other."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError):
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or loaded.public_key() != private.public_key():
        return None
    return loaded, private


def _write_pair(certificate: Path, key: Path, loaded: x509.Certificate, private: ec.EllipticCurvePrivateKey) -> None:
    pem = serialization.Encoding.PEM
    replace_file(key, private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    replace_file(certificate, loaded.public_bytes(pem), 0o644)
