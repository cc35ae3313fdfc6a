"""What the store promises, on SQLite and on PostgreSQL: one suite for both."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, select, text

from fakes import rows
from smalt.auth.keyring import Keyring
from smalt.sched import placement
from smalt.sched.want import Want
from smalt.settings import Settings
from smalt.store import claims, operations, pages, resources
from smalt.store.claims import Lane
from smalt.store.database import Database
from smalt.store.migrate import HEAD, NewerDatabase, migrate
from smalt.store.sealed import Secrets
from smalt.store.tables import metadata

KIND = "workspaces/jobs"
LANE = Lane(frozenset({KIND}))


def insert(connection: Connection, name: str, at: float = 1.0, **more: Any) -> str:
    key = f"/w/{name}"
    values: dict[str, Any] = {
        "key": key,
        "written": key,
        "kind": KIND,
        "parent": "/w",
        "name": name,
        "spec": {"properties": {"ü": [1, None]}},
        "status": {},
        "state": "New",
        "now": at,
        "by": "ada",
        **more,
    }
    resources.insert(connection, **values)
    return key


def claim(database: Database, now: float, lease: str = "a", most: int = 10) -> list[resources.Row]:
    with database.read() as connection:
        keys = claims.due(connection, LANE, now, most)
    with database.write() as connection:
        return claims.claim(connection, keys, now, lease, 30.0)


def read(database: Database, key: str) -> resources.Row:
    with database.read() as connection:
        row = resources.get(connection, key)
    assert row is not None
    return row


def apply(database: Database, row: resources.Row, **more: Any) -> bool:
    return rows.apply(database, row, {"seen": True}, **more)


def test_documents_come_back_as_they_were(database: Database) -> None:
    with database.write() as connection:
        key = insert(connection, "a")
    row = read(database, key.upper())
    assert row.properties == {"ü": [1, None]} and row.generation == 1


def test_a_row_is_the_same_alone_and_among_others(database: Database) -> None:
    with database.write() as connection:
        key = insert(connection, "a", archived=True, due_at=2.5, lookup="é")
    with database.read() as connection:
        alone, among = resources.get(connection, key), resources.get_many(connection, [key])[key]
    assert repr(alone) == repr(among)


def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as connection:
        insert(connection, "a")
        raise RuntimeError
    with database.read() as connection:
        assert resources.get(connection, "/w/a") is None


def test_the_same_id_twice_is_refused(database: Database) -> None:
    with database.write() as connection:
        insert(connection, "a")
    with pytest.raises(resources.Exists), database.write() as connection:
        insert(connection, "a")


def test_only_what_is_due_and_free_is_claimed(database: Database) -> None:
    with database.write() as connection:
        insert(connection, "due", due_at=5.0)
        insert(connection, "later", due_at=500.0)
        insert(connection, "never")
    assert [row.name for row in claim(database, 10.0)] == ["due"]
    assert claim(database, 10.0, "b") == []
    assert [row.name for row in claim(database, 41.0, "b")] == ["due"], "a lease that is over is free again"


def test_each_due_row_goes_to_one_claimer(database: Database) -> None:
    with database.write() as connection:
        for number in range(40):
            insert(connection, f"j{number}", due_at=1.0)

    def take(number: int) -> list[str]:
        names: list[str] = []
        with database.read() as connection:
            while claims.due(connection, LANE, 10.0, 1):
                names += [row.name for row in claim(database, 10.0, f"lease-{number}", 7)]
                connection.rollback()
        return names

    with ThreadPoolExecutor(8) as pool:
        names = [name for taken in pool.map(take, range(8)) for name in taken]
    assert len(names) == len(set(names)) == 40


def test_an_apply_counts_only_under_its_lease(database: Database) -> None:
    with database.write() as connection:
        key = insert(connection, "a", due_at=1.0)
    (stale,) = claim(database, 10.0, "old")
    (fresh,) = claim(database, 41.0, "new")
    assert not apply(database, stale, state="Wrong")
    assert apply(database, fresh)
    row = read(database, key)
    assert (row.state, row.lease, row.due_at, row.observed) == ("Done", None, None, 1)


def test_a_poke_during_a_step_is_not_lost(database: Database) -> None:
    with database.write() as connection:
        key = insert(connection, "a", due_at=1.0)
    (row,) = claim(database, 10.0)
    with database.write() as connection:
        resources.poke(connection, [key], 12.0)
    assert apply(database, row)
    assert read(database, key).due_at == 12.0


def test_a_new_generation_during_a_step_drops_all_of_it(database: Database) -> None:
    with database.write() as connection:
        key = insert(connection, "a", due_at=1.0)
    (row,) = claim(database, 10.0)
    with database.write() as connection:
        current = resources.get(connection, key)
        assert current is not None
        resources.replace_spec(connection, current, {"properties": {}}, state="Updating", now=11.0, by="bob", due=True)
    assert not apply(database, row)
    after = read(database, key)
    assert (after.state, after.generation, after.observed, after.due_at) == ("Updating", 2, 0, 11.0)
    assert after.status == {} and after.ended_at is None and after.lease is None


def test_a_heartbeat_extends_only_its_own_lease(database: Database) -> None:
    with database.write() as connection:
        insert(connection, "a", due_at=1.0)
    (row,) = claim(database, 10.0, "mine")
    with database.write() as connection:
        assert claims.extend(connection, row, 100.0)
    assert claim(database, 60.0, "other") == []
    (other,) = claim(database, 101.0, "other")
    with database.write() as connection:
        assert not claims.extend(connection, row, 200.0)
    assert apply(database, other)


def test_waiters_are_woken_once_and_in_the_same_transaction(database: Database) -> None:
    with database.write() as connection:
        build = insert(connection, "build", due_at=1.0)
        job = insert(connection, "job")
        resources.wait_for(connection, job, [build], 1.0)
        resources.wait_for(connection, job, [build], 1.0)
    (row,) = claim(database, 10.0)
    assert apply(database, row)
    assert read(database, job).due_at == 50.0
    with database.write() as connection:  # it has ended: who waits now is woken at once
        late = insert(connection, "late")
        resources.wait_for(connection, late, [build], 60.0)
    assert read(database, late).due_at == 60.0


def test_lists_are_paged_by_key(database: Database) -> None:
    with database.write() as connection:
        for number in range(10):
            insert(connection, f"j{number}", at=float(number // 2))
        insert(connection, "hidden", at=99.0, archived=True)
        insert(connection, "elsewhere", at=99.0, parent="/other")
    seen: list[str] = []
    skip = None
    while True:
        with database.read() as connection:
            page = pages.page(connection, KIND, "/w", most=3, skip=skip)
        seen += [row.name for row in page.rows]
        skip = page.skip
        if skip is None:
            break
    assert sorted(seen) == [f"j{number}" for number in range(10)] and len(seen) == 10
    with database.read() as connection:
        oldest = pages.page(connection, KIND, "/w", most=2, oldest_first=True)
        archived = pages.page(connection, KIND, "/w", most=5, archived=True)
    assert [row.name for row in oldest.rows] == ["j0", "j1"]
    assert [row.name for row in archived.rows] == ["hidden"]


def test_lists_of_what_is_seen(database: Database) -> None:
    with database.write() as connection:
        keys = [insert(connection, f"j{number}", at=float(number // 2)) for number in range(9)]
        insert(connection, "elsewhere", at=99.0, parent="/other")
    seen = [*keys[1:8:2], *(f"/none/{number}" for number in range(500))]
    with database.read() as connection:
        first = pages.page(connection, KIND, "/w", most=3, seen=seen)
        second = pages.page(connection, KIND, "/w", most=3, seen=seen, skip=first.skip)
        below = pages.page(connection, KIND, "", most=20, seen=[keys[0].rpartition("/")[0]], prefix="/w")
        nothing = pages.page(connection, KIND, "/w", most=3, seen=[])
    assert [row.name for row in (*first.rows, *second.rows)] == ["j7", "j5", "j3", "j1"] and second.skip is None
    assert len(below.rows) == 10 and nothing.rows == []  # by their ids, whatever the parent


def test_operations_end_with_their_generation(database: Database) -> None:
    with database.write() as connection:
        first = operations.begin(connection, "/w/a", "write", 1, 1.0)
        second = operations.begin(connection, "/w/a", "write", 2, 2.0)
        operations.finish(connection, "/w/a", 1, None, 3.0)
    with database.read() as connection:
        one, two = operations.get(connection, first), operations.get(connection, second)
        assert one is not None and one.state == operations.SUCCEEDED
        assert two is not None and two.state == operations.RUNNING
    with database.write() as connection:
        operations.finish(connection, "/w/a", 2, {"code": "X", "message": "m"}, 4.0)
    with database.read() as connection:
        two = operations.get(connection, second)
        assert two is not None and two.state == operations.FAILED and two.error == {"code": "X", "message": "m"}


def test_removing_a_row_removes_its_secrets(database: Database, tmp_path: Path) -> None:
    secrets = Secrets(Keyring(Settings(tmp_path)))
    with database.write() as connection:
        key = insert(connection, "a")
        secrets.set(connection, key, "primaryKey", "s3cret")
        secrets.set(connection, key, "primaryKey", "s3cret-2")
    with database.read() as connection:
        assert secrets.of(connection, key) == {"primaryKey": "s3cret-2"}
    with database.write() as connection:
        resources.remove(connection, key, 1.0)
    with database.read() as connection:
        assert resources.get(connection, key) is None and secrets.of(connection, key) == {}


def test_nodes_are_never_given_to_two(database: Database) -> None:
    got: dict[str, list[int] | None] = {}
    lock = threading.Lock()

    def take(number: int) -> None:
        owner = f"/w/j{number:02}"
        with database.write() as connection:
            found = placement.acquire(connection, Want("/w/cpu", owner, 2, 5, float(number)), 0, 100.0)
        with lock:
            got[owner] = found and [one.node for one in found]

    for number in range(4):
        take(number)
    assert [nodes for nodes in got.values() if nodes] == [[0, 1], [2, 3]]
    with database.write() as connection:
        placement.release(connection, "/w/j00", 101.0)
    take(3)
    assert got["/w/j03"] is None, "the third was first in the queue"
    take(2)
    assert got["/w/j02"] == [0, 1]


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    with database.write() as connection:
        insert(connection, "a")
    with database.write() as writer:
        insert(writer, "b")
        with database.read() as reader:
            assert resources.get(reader, "/w/a") is not None
            assert resources.get(reader, "/w/b") is None


def test_migrating_again_changes_nothing(database: Database) -> None:
    with database.write() as connection:
        insert(connection, "a")
    migrate(database)
    assert read(database, "/w/a").name == "a"


def test_an_older_database_gets_what_was_added(database: Database) -> None:
    with database.write() as connection:
        key = insert(connection, "a")
        connection.execute(text("DROP INDEX operation_ended"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    migrate(database)
    with database.read() as connection:
        indexes = {index["name"] for index in inspect(connection).get_indexes("operation")}
        head = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    assert indexes == {index.name for index in metadata.tables["operation"].indexes} and head == HEAD
    assert read(database, key).name == "a"


def test_a_database_from_before_client_certificates_gets_their_table(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DROP TABLE identity_certificate"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0007'"))
    migrate(database)
    with database.read() as connection:
        found = {column["name"] for column in inspect(connection).get_columns("identity_certificate")}
    assert found == set(metadata.tables["identity_certificate"].c.keys())


def test_deployments_of_a_version_that_named_paths_name_blobs(database: Database) -> None:
    store = "/home/ada/blobs/x/.smalt/blobs/acc1"
    runs = {"mode": "script", "script": "score.py", "variables": {}, "concurrency": 1, "timeout_s": 5.0, "size": ""}
    paths = {"model": f"{store}/con/models/m 1", "code": f"{store}/code-2/src"}
    target = {**runs, **paths, "probes": [None, None], "plan": {"key": "k"}, "digest": "old", "revision": 2}
    before = {**target, "model": "", "code": "", "revision": 1}
    live = {"revision": 1, "names": ["srv-1"], "sockets": ["/run/srv-1.sock"], "target": before}
    with database.write() as connection:
        key = insert(connection, "blue", kind="workspaces/onlineendpoints/deployments")
        resources.merge_status(connection, key, {"target": target, "live": live, "old": ["srv-0"]})
        insert(connection, "none", kind="workspaces/onlineendpoints/deployments")
        connection.execute(metadata.tables["account"].insert().values(name="acc1", key1="", key2="", created_at=0))
        connection.execute(text("UPDATE alembic_version SET version_num = '0012'"))
    migrate(database)
    after = read(database, key).status
    assert (after["target"]["model"], after["target"]["code"]) == (
        ["acc1", "con", "models/m 1"],
        ["acc1", "code-2", "src/"],
    )
    assert after["target"]["digest"] not in ("old", after["live"]["target"]["digest"])
    assert (after["live"]["target"]["model"], after["live"]["target"]["code"]) == (None, None)
    assert after["live"]["addresses"] == {"srv-1": "unix:/run/srv-1.sock"} and "sockets" not in after["live"]
    assert after["old"] == ["srv-0"] and after["target"]["revision"] == 2


def test_jobs_of_an_older_version_that_have_ended_keep_no_secret(database: Database) -> None:
    secret, before = metadata.tables["secret"], {"secret": "old", "tasks": ["t"]}
    with database.write() as connection:
        for name, state in (("ended", "Failed"), ("runs", "Running")):
            key = insert(connection, name, kind="workspaces/jobs", state=state, status=before)
            connection.execute(secret.insert().values(resource_id=key, name="nodes", value="sealed", key_id="k"))
        other = insert(connection, "other", kind="workspaces/datastores", state="Failed", status=before)
        connection.execute(text("UPDATE alembic_version SET version_num = '0017'"))
    migrate(database)
    after = {name: read(database, f"/w/{name}").status for name in ("ended", "runs", "other")}
    assert after == {"ended": {"tasks": ["t"]}, "runs": before, "other": before} and other
    with database.read() as connection:
        assert list(connection.execute(select(secret.c.resource_id)).scalars()) == ["/w/runs"]


def test_a_newer_database_is_refused(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerDatabase, match="9999"):
        migrate(database)


def test_the_schema_is_what_the_tables_say(database: Database) -> None:
    with database.read() as connection:
        found = inspect(connection)
        for table in metadata.sorted_tables:
            assert {column["name"] for column in found.get_columns(table.name)} == set(table.c.keys())
        head = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    assert head == HEAD


def test_the_file_is_private(tmp_path: Path) -> None:
    made = Database(f"sqlite:///{tmp_path / 'x.db'}")
    migrate(made)
    assert (tmp_path / "x.db").stat().st_mode & 0o077 == 0
    made.close()
