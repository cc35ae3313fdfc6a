"""An S3 store that fails: tried again within bounds, never a torn blob, never a secret in an error."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.faults import BUSY, CUT, LOST, REFUSED, Faults, faults_before
from live.s3 import BUCKET as BUCKET_OF_S3
from live.s3 import S3, SECRET
from smalt.agent.wire import Ref
from smalt.arm.outage import StoreAway, outage
from smalt.blob.accounts.carrying import StoreFiles
from smalt.blob.store.opening import open_store
from smalt.blob.store.remote import ObstoreStore
from smalt.blob.store.staging import Staging

BUCKET = "acct/data"
LARGE = os.urandom(1 << 20) * 20
LOG = Ref("acct", "data", "log")


@pytest.fixture
def faults(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    with faults_before(s3.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        yield made


def opened(hasty: bool = False) -> ObstoreStore:
    return open_store(f"s3://{BUCKET_OF_S3}/failing{time.time_ns():x}", hasty)


@pytest.fixture
def store(faults: Faults) -> ObstoreStore:
    return opened()


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "blobs")


def read(store: ObstoreStore, name: str) -> bytes:
    reader = store.open(BUCKET, name)
    assert reader is not None
    return reader.read(0, reader.info.size)


def test_what_passes_is_not_noticed(store, faults, staging):
    faults.next = [BUSY, LOST, BUSY]
    store.put(BUCKET, "a", staging.write(b"one"))
    faults.next = [BUSY, BUSY]
    assert read(store, "a") == b"one"
    faults.next = [BUSY]
    assert [one.name for one in store.list(BUCKET).entries] == ["a"]
    faults.next = [BUSY]
    assert store.delete(BUCKET, "a")


def test_a_body_that_is_cut_off_is_never_a_blob(store, faults, tmp_path):
    (tmp_path / "large").write_bytes(LARGE)
    carriage = StoreFiles(store, Staging(tmp_path / "blobs"))
    place = Ref("acct", "data", "large")
    faults.next = [BUSY, LOST, BUSY, BUSY]
    carriage.store(tmp_path / "large", place)
    back = tmp_path / "back"
    for _ in range(20):
        faults.next = ["", CUT, BUSY, CUT]
        try:
            carriage.fetch(place, back)
        except OSError:
            assert not back.exists()
            continue
        break
    faults.next = []
    carriage.fetch(place, back)
    assert back.read_bytes() == LARGE
    assert [one.name for one in tmp_path.iterdir() if "back" in one.name] == ["back"]


@pytest.mark.parametrize("fault", [BUSY, LOST, CUT])
def test_what_grows_grows_once_whatever_gets_lost(store, faults, tmp_path, fault):
    """As a node does it: after an error it asks again, with the length that it knows."""
    carriage = StoreFiles(store, Staging(tmp_path / "blobs"))
    whole, at = b"".join(b"%03d " % number for number in range(60)), 0
    while at < len(whole):
        faults.next = ["", fault, "", "", fault] if at % 80 == 0 else []
        try:
            at = carriage.append(LOG, at, whole[at : at + 4])
        except OSError:
            continue
    faults.next = [fault, "", fault]
    for _ in range(10):
        try:
            carriage.seal(LOG)
        except OSError:
            continue
        break
    assert read(store, "log") == whole


def test_one_that_stays_away_ends_in_time_and_says_no_secret(faults, staging):
    store = opened(hasty=True)
    for fault, said in ((BUSY, "503"), (REFUSED, "refuses")):
        faults.always = fault
        for act in (
            lambda: store.head(BUCKET, "a"),
            lambda: store.list(BUCKET),
            lambda: store.put(BUCKET, "a", staging.write(b"1")),
            lambda: store.put(BUCKET, "a", staging.write(b"1"), replace=False),
        ):
            began = time.monotonic()
            with pytest.raises(StoreAway) as caught:
                act()
            assert time.monotonic() - began < 60
            assert said in str(caught.value) and SECRET not in str(caught.value) and "http" not in str(caught.value)
            assert caught.value.__cause__ is None
            answer = outage(caught.value)
            assert answer is not None and (answer.status, answer.headers["Retry-After"]) == (503, "1")
