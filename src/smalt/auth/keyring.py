"""The keys that seal secrets at rest: `secrets/keyring.json`, newest last.

AES-256-GCM, a nonce of 96 random bits for each value. The file is replaced as a whole. A process that has it open
learns of a new key at its next use, and keeps those that it has read: what it read from the database a moment ago may
be sealed under a key that was dropped since.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from smalt.auth.secret_files import keep_secret, private_folder, replace_file
from smalt.settings import Settings

_NONCE_BYTES = 12


class Unreadable(Exception):
    """A value that no key of this root opens; the message says what to restore."""


@dataclass(frozen=True)
class Key:
    id: str
    key: bytes
    made_at: float


class Keyring:
    """Implements `store.sealed.Cipher`. Thread-safe; several processes share the file."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.secrets / "keyring.json"
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._known: dict[str, AESGCM] = {}
        self._current = ""
        self._read()

    @property
    def current(self) -> str:
        return self._read()[-1].id if self._changed() else self._current

    def seal(self, text: str, place: str) -> tuple[str, str]:
        key_id, nonce = self.current, secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._known[key_id].encrypt(nonce, text.encode("utf-8", "surrogatepass"), place.encode())
        return base64.b64encode(sealed).decode(), key_id

    def open(self, sealed: str, key_id: str, place: str) -> str:
        """Raises Unreadable."""
        if key_id not in self._known:
            self._read()
        try:
            cipher, raw = self._known[key_id], base64.b64decode(sealed)
            plain = cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode())
        except KeyError:
            raise Unreadable(
                f"A secret is sealed under the key {key_id}, which {self._path.name} does not have:"
                " restore the file that belongs to this database."
            ) from None
        except (InvalidTag, ValueError):
            raise Unreadable(
                f"A secret sealed under the key {key_id} was changed, or belongs to another place."
            ) from None
        return plain.decode("utf-8", "surrogatepass")

    def entries(self) -> Sequence[Key]:
        """All keys as the file has them now, oldest first."""
        return self._read()

    def add(self) -> Key:
        """A new key, which seals from now on. Hold `alone`."""
        made = _new_key()
        self._write([*self._read(), made])
        return made

    def drop(self, unused: Sequence[str]) -> None:
        """Hold `alone`; the current key stays."""
        keys = self._read()
        self._write([*(one for one in keys[:-1] if one.id not in unused), keys[-1]])

    @contextmanager
    def alone(self) -> Generator[None]:
        """One process at a time changes the ring; a killed one holds nothing."""
        private_folder(self._path.parent)
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _changed(self) -> bool:
        return _stamp(self._path.stat()) != self._stamp

    def _read(self) -> Sequence[Key]:
        with self._lock:
            # before the content: what comes in between is seen at the next look
            stamp = _stamp(self._path.stat()) if self._path.exists() else None
            keys = keep_secret(self._path, lambda: _dump([_new_key()]), _load)
            self._known |= {one.id: AESGCM(one.key) for one in keys if one.id not in self._known}
            self._current, self._stamp = keys[-1].id, stamp
        return keys

    def _write(self, keys: Sequence[Key]) -> None:
        replace_file(self._path, _dump(keys))
        self._read()


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size


def _new_key() -> Key:
    return Key(secrets.token_hex(4), AESGCM.generate_key(256), time.time())


def _load(content: bytes) -> Sequence[Key]:
    found = json.loads(content)["keys"]
    keys = [Key(one["id"], base64.b64decode(one["key"]), one["made_at"]) for one in found]
    if not keys:
        raise ValueError("no key")
    return keys


def _dump(keys: Sequence[Key]) -> bytes:
    shown = [{"id": one.id, "key": base64.b64encode(one.key).decode(), "made_at": one.made_at} for one in keys]
    return json.dumps({"keys": shown}).encode()
