"""What this node shows to the gateway: a key that never leaves it, and the platform's certificate for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from smalt.auth.certificates import RENEW_BEFORE
from smalt.auth.secret_files import private_folder, replace_file
from smalt.engines.remote.serving import below


class NodeCertificate:
    """`ask(request)` gives the certificate for a request (both PEM); `ca`: whose the gateway's has to be.

    `node`: the node's name. Its folder may have been another's, whose certificate is for other names.
    """

    def __init__(self, folder: Path, node: str, ca: str, ask: Callable[[bytes], bytes]) -> None:
        self.folder, self._names, self._ca, self._ask = folder, f"*.{below(node)}", ca, ask
        self.authority = folder / "ca.pem"

    def ensure(self) -> None:
        """There is one that holds. Raises OSError, ArmError or ValueError where none can be had."""
        if self._holds():
            return
        private_folder(self.folder)
        replace_file(self.authority, self._ca.encode(), 0o644)
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        made = self._ask(request.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        replace_file(self.folder / "node.key", private)
        replace_file(self.folder / "node.pem", made, 0o644)

    def _holds(self) -> bool:
        try:
            found = x509.load_pem_x509_certificate((self.folder / "node.pem").read_bytes())
            key = serialization.load_pem_private_key((self.folder / "node.key").read_bytes(), None)
            found.verify_directly_issued_by(x509.load_pem_x509_certificate(self._ca.encode()))
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if names.get_values_for_type(x509.DNSName) != [self._names]:
                return False
        except Exception:  # whatever is wrong with it, a new one mends it
            return False
        return found.public_key() == key.public_key() and found.not_valid_after_utc > datetime.now(UTC) + RENEW_BEFORE
