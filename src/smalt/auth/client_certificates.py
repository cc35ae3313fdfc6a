"""Client certificates: a service principal signs a token itself, with the key of a certificate that we know.

What is believed is the certificate, not who issued it: it was handed over when the service principal was made, and an
assertion names it by its thumbprint (`x5t`, `x5t#S256`) or brings it along (`x5c`). Claims and header:
https://learn.microsoft.com/entra/identity-platform/certificate-credentials. RSA only, as there.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc.jwk import RSAKey

from smalt.arm.cloud import login_url
from smalt.arm.errors import invalid
from smalt.auth.assertions import check_times, is_signed, peek, refused
from smalt.settings import Settings

ALGORITHMS = ("RS256", "PS256")
KEY_BITS = 2048
LONGEST_LIFE_S = 86_400.0  # of an assertion; as long as its use is remembered
LONGEST_JTI = 255


@dataclass(frozen=True)
class ClientCertificate:
    """An X.509 certificate whose key signs assertions. `pem` is the public part alone."""

    certificate: x509.Certificate

    @classmethod
    def parse(cls, text: bytes) -> ClientCertificate:
        """The first certificate in PEM `text`, which may hold its private key too. ArmError(400) where none fits."""
        try:
            loaded = x509.load_pem_x509_certificate(text)
            key = loaded.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise invalid(
                "The certificate is not one in PEM form (-----BEGIN CERTIFICATE-----).", "certificate"
            ) from error
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < KEY_BITS:
            raise invalid(f"The certificate's key must be RSA, with {KEY_BITS} bits or more.", "certificate")
        return cls(loaded)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def thumbprint(self) -> str:
        """SHA-1 in hex, as Azure shows it."""
        return self.certificate.fingerprint(hashes.SHA1()).hex().upper()

    @property
    def ends_at(self) -> float:
        """Seconds since the epoch."""
        return self.certificate.not_valid_after_utc.timestamp()

    def out_of_time(self, now: float) -> str:
        """What is wrong with its validity at `now`, in words; empty: nothing."""
        starts, ends = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if now > ends.timestamp():
            return f"it expired at {ends.isoformat()}"
        return f"it is not valid before {starts.isoformat()}" if now < starts.timestamp() else ""

    def is_meant_by(self, header: Mapping[str, Any]) -> bool:
        """Whether an assertion with `header` says that it is signed with this one: all that it says must fit."""
        chain = header.get("x5c")
        named = {
            "x5t": _encoded(self.certificate.fingerprint(hashes.SHA1())),
            "x5t#S256": _encoded(self.certificate.fingerprint(hashes.SHA256())),
        }
        told = [_unpadded(header[name]) == value for name, value in named.items() if name in header]
        if chain is not None:
            told.append(_leaf(chain) == self.certificate.public_bytes(serialization.Encoding.DER))
        return bool(told) and all(told)

    def signed(self, assertion: str) -> bool:
        pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        key = RSAKey.import_key(self.certificate.public_key().public_bytes(pem, form))
        return is_signed(assertion, key, ALGORITHMS)


def new_certificate(name: str, lifetime_s: float, now: float) -> tuple[ClientCertificate, bytes]:
    """A self-signed one, valid from `now`, and the file for the client: PEM of the private key and the certificate."""
    key = rsa.generate_private_key(65_537, KEY_BITS)
    common = name.encode()[:64].decode(errors="ignore")  # X.509's bound, in bytes
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    starts = datetime.fromtimestamp(now, UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(starts).not_valid_after(starts + timedelta(seconds=lifetime_s))
    made = ClientCertificate(builder.sign(key, hashes.SHA256()))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made, private + made.pem.encode()


def token_endpoint(settings: Settings) -> re.Pattern[str]:
    """What an assertion's audience must match: a token endpoint of ours, of any tenant, or an issuer's address."""
    bases = "|".join(re.escape(one) for one in {settings.url, login_url(settings)})
    return re.compile(rf"(?:{bases})/adfs(?:/[^/]+)?(?:/v2\.0|/oauth2(?:/v2\.0)?/token)?/?", re.IGNORECASE)


def check_certificate_assertion(
    assertion: str,
    client_id: str,
    certificates: Sequence[ClientCertificate],
    audience: re.Pattern[str],
    now: float,
) -> tuple[str, float]:
    """Raises ArmError(401) that says what does not fit; else the assertion's `jti`, and when it ends.

    Whether that `jti` was used before is the caller's to ask, when all else fits.
    """
    header, claims = peek(assertion)
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise refused(
            "AADSTS700021: Client assertion application identifier doesn't match 'client_id' parameter: its 'iss' and"
            f" 'sub' must be '{client_id}'."
        )
    if header.get("alg") not in ALGORITHMS:
        raise refused(f"AADSTS50027: The client assertion must be signed with {' or '.join(ALGORITHMS)}.")
    meant = next((one for one in certificates if one.is_meant_by(header)), None)
    if meant is None:
        raise refused(
            "AADSTS700027: The certificate used to sign the client assertion is not registered on application. "
            f"[Reason - The key was not found., Thumbprint of key used by client: '{_named(header)}']"
        )
    if not meant.signed(assertion):
        raise refused(
            "AADSTS700027: Client assertion contains an invalid signature. [Reason - The provided signature value did "
            f"not match the expected signature value., Thumbprint of key used by client: '{meant.thumbprint}']"
        )
    if why := meant.out_of_time(now):
        raise refused(
            "AADSTS700027: The certificate used to sign the client assertion is not within its validity. "
            f"[Reason - The key used is expired: {why}., Thumbprint of key used by client: '{meant.thumbprint}']"
        )
    given = claims.get("aud")
    if not any(audience.fullmatch(str(one)) for one in (given if isinstance(given, list) else [given])):
        raise refused(
            "AADSTS700023: Client assertion audience claim does not match Realm issuer: it must be the address of this"
            " server's token endpoint."
        )
    ends_at = check_times(claims, now)
    if ends_at > now + LONGEST_LIFE_S:
        raise refused("AADSTS700024: Client assertion is not within its valid time range: it ends more than a day off.")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 1 <= len(jti) <= LONGEST_JTI:
        raise refused(f"AADSTS50027: The client assertion needs a 'jti' claim of 1 to {LONGEST_JTI} characters.")
    return jti, ends_at


def _named(header: Mapping[str, Any]) -> str:
    """The thumbprint that an assertion names, in hex as Azure shows it; empty where it names none that can be read."""
    named = header.get("x5t") or header.get("x5t#S256") or ""
    try:
        return base64.urlsafe_b64decode(_unpadded(named) + "==").hex().upper()
    except (binascii.Error, ValueError):
        return ""


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _unpadded(text: Any) -> str:
    """Some clients write the padding, some do not."""
    return text.rstrip("=") if isinstance(text, str) else ""


def _leaf(chain: Any) -> bytes:
    """The certificate that a chain begins with, as DER (a single one may stand without a list); empty: unreadable."""
    first = chain[0] if isinstance(chain, list) and chain else chain
    try:
        return base64.b64decode(first) if isinstance(first, str) else b""
    except (binascii.Error, ValueError):
        return b""
