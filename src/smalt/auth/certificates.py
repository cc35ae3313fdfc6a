"""The platform's own certificate authority, and the certificates of its server, its gateway and its nodes.

Clients trust us through `bundle.pem` (REQUESTS_CA_BUNDLE), which holds the public authorities too, so that the same
process still reaches the rest of the world. ECDSA P-256: keys and handshakes cost a fraction of RSA's.

A node that serves replicas shows a certificate for names below its own (`sign`), and lets in who shows the gateway's.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smalt.agent.wire import Address
from smalt.auth.secret_files import private_folder, replace_file
from smalt.settings import STORAGE_SUFFIX, Settings, services_host

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)  # the longest that all clients accept
RENEW_BEFORE = timedelta(days=30)
LOOK_EVERY_S = 6 * 3600.0
BACKDATED = timedelta(hours=1)  # for clients whose clock is behind
GATEWAY = "gateway.smalt"  # whom the gateway's certificate is of; nobody is found by that name
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
    names = _names(settings.host)
    renewed = server is None or not _fits(server[0], authority[0], names, now)
    if renewed:
        key = ec.generate_private_key(ec.SECP256R1())
        made = _signed(authority, key.public_key(), settings.host, names, ExtendedKeyUsageOID.SERVER_AUTH, now)
        _write_pair(paths.server, paths.server_key, made, key)
    _ensure_gateway(folder, authority, now)
    bundle = Path(certifi.where()).read_bytes().rstrip() + b"\n\n# Smalt\n" + paths.ca.read_bytes()
    if not paths.bundle.exists() or paths.bundle.read_bytes() != bundle:
        replace_file(paths.bundle, bundle, 0o644)
    return Certificates(paths.ca, paths.server, paths.server_key, paths.bundle, renewed)


def _ensure_gateway(folder: Path, authority: Pair, now: datetime) -> None:
    """`gateway.pem` and its key: what the gateway shows to nodes."""
    names: list[x509.GeneralName] = [x509.DNSName(GATEWAY)]
    paths = folder / "gateway.pem", folder / "gateway.key"
    found = _load_pair(*paths)
    if found is None or not _fits(found[0], authority[0], names, now):
        key = ec.generate_private_key(ec.SECP256R1())
        made = _signed(authority, key.public_key(), GATEWAY, names, ExtendedKeyUsageOID.CLIENT_AUTH, now)
        _write_pair(*paths, made, key)


def sign(settings: Settings, request: bytes, name: str, now: datetime | None = None) -> bytes:
    """A certificate (PEM) for all names right below `name`, and no others, for who has the key of this request.

    Raises ValueError for what is no request, or not of our kind of keys.
    """
    asked = x509.load_pem_x509_csr(request)
    key = asked.public_key()
    if not asked.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the request is not signed by an elliptic curve's key")
    authority = _load_pair(settings.tls / "ca.pem", settings.tls / "ca.key")
    if authority is None:
        raise OSError("the platform's certificate authority cannot be read")
    names: list[x509.GeneralName] = [x509.DNSName(f"*.{name}")]
    made = _signed(authority, key, name, names, ExtendedKeyUsageOID.SERVER_AUTH, now or datetime.now(UTC))
    return made.public_bytes(serialization.Encoding.PEM)


def dial(settings: Settings, address: Address, timeout_s: float) -> ssl.SSLSocket:
    """A connection to a replica on a node, as the gateway has them. Raises OSError."""
    context = gateway_context(settings)
    plain = socket.create_connection((address.host, address.port), timeout_s)
    try:
        return context.wrap_socket(plain, server_hostname=address.name)
    except BaseException:
        plain.close()
        raise


def gateway_context(settings: Settings) -> ssl.SSLContext:
    """To speak to replicas on nodes as the gateway does. Raises OSError while the files are not there."""
    context = ssl.create_default_context(cafile=str(settings.tls / "ca.pem"))
    context.load_cert_chain(settings.tls / "gateway.pem", settings.tls / "gateway.key")
    return context


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
    builder = _builder(name, name, key.public_key(), now, CA_LIFETIME).serial_number(serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return builder.sign(key, hashes.SHA256()), key


def _signed(
    authority: Pair,
    key: ec.EllipticCurvePublicKey,
    common: str,
    names: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    now: datetime,
) -> x509.Certificate:
    ca, ca_key = authority
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])
    builder = _builder(name, ca.subject, key, now, SERVER_LIFETIME).serial_number(x509.random_serial_number())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = builder.add_extension(issuer_id, critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key)
    builder = builder.not_valid_before(now - BACKDATED).not_valid_after(now + lifetime)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


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


def _fits(server: x509.Certificate, ca: x509.Certificate, names: Sequence[x509.GeneralName], now: datetime) -> bool:
    try:
        server.verify_directly_issued_by(ca)
        found = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with the old one, a new one mends it
        return False
    return set(found) == set(names) and server.not_valid_after_utc > now + RENEW_BEFORE


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
