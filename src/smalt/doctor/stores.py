"""The blob store: a folder, or a bucket elsewhere that is written, read, listed and measured."""

from __future__ import annotations

import secrets
import shlex
import tempfile
from collections.abc import Callable
from contextlib import suppress

from smalt.arm.outage import StoreAway
from smalt.doctor.database import median_ms
from smalt.doctor.finding import Finding, NotTried, no, ok, warn
from smalt.doctor.machine import Machine

SLOW_MS = 100.0
_ROUND_TRIPS, _MOST_S = 5, 1.0
_REMEDIES = {
    "s3": "set AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and make the bucket",
    "az": "set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, and make the container",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, and make the bucket",
}
_MEANS = "nothing can be uploaded, and Smalt cannot start"


def store(machine: Machine) -> Finding:
    return _bucket(machine) if machine.settings.remote_store else _folder(machine)


def _folder(machine: Machine) -> Finding:
    """Blobs are files in a folder."""
    folder = machine.settings.blobs
    shown = shlex.quote(str(folder))
    if not folder.is_dir():
        if folder.exists():
            return no(f"{folder} is not a folder", _MEANS, f"mv {shown} {shown}.old")
        above = next(one for one in folder.parents if one.is_dir())
        try:
            with machine.scratch(above):
                return ok(f"a folder, {folder}, which is not there yet and can be made")
        except NotTried as error:
            return no(f"{folder} cannot be made: {error}", _MEANS, "smalt up --store DIR, a folder that is yours")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"smalt")
    except OSError as error:
        return no(f"{folder} cannot be written ({error.strerror})", _MEANS, f"ls -ld {shown}")
    return ok(f"a folder, {folder}, which can be written")


def _bucket(machine: Machine) -> Finding:
    """Writes a small object, reads it and a part of it, lists it, tries to make it again, and deletes it."""
    import obstore  # half a second that a folder does not need
    from obstore.exceptions import AlreadyExistsError

    from smalt.blob.store.opening import remote
    from smalt.blob.store.remote_calls import MISSING, asked

    settings = machine.settings
    place, remedy = settings.shown_store, _REMEDIES[settings.store_url[:2]]
    folder = f".smalt/tries/{secrets.token_hex(8)}"
    path, data = f"{folder}/object", b"smalt"
    try:
        bucket = remote(settings.store_url, hasty=True)
        with asked():
            try:
                obstore.put(bucket, path, data, mode="create", use_multipart=False)
                median = median_ms(lambda: _read(bucket, path, data, obstore.get), _ROUND_TRIPS, _MOST_S)
                obstore.get(bucket, path, options={"range": (1, 3)}).bytes()
                listed = [meta["path"] for chunk in obstore.list(bucket, folder) for meta in chunk]
                twice = True
                with suppress(AlreadyExistsError):
                    obstore.put(bucket, path, data, mode="create", use_multipart=False)
                    twice = False
            finally:
                with suppress(Exception):
                    obstore.delete(bucket, path)
    except MISSING:
        return no(f"{place}: there is no such bucket or container", _MEANS, remedy)
    except StoreAway as error:
        return no(f"{place}: {error}", _MEANS, remedy)
    if listed != [path]:
        return no(f"{place}: an object that was written is not listed", _MEANS, remedy)
    fact = f"{place}, {median:.1f} ms for a round trip"
    if not twice:
        means = "of two uploads that must not replace anything, the second may replace the first"
        return warn(f"{fact}, without conditional writes", means, "a store that honours If-None-Match")
    if median > SLOW_MS:
        return warn(fact, "each request for a blob makes one or more, and waits", "a store that is nearer")
    return ok(fact)


def _read(bucket: object, path: str, data: bytes, get: Callable[..., object]) -> None:
    if bytes(get(bucket, path).bytes()) != data:  # type: ignore[attr-defined]
        raise StoreAway("it gives back something else than was written")
