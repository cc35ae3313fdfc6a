"""Tasks that are another server's by now are ended, one that cannot be ended keeps no other from it."""

from __future__ import annotations

import threading

from fakes.platform import GROUP, Harness
from live.patience import PATIENCE_S
from smalt.reconcile.orphans import Orphans
from smalt.store import resources
from smalt.store.servers import Servers


def add(harness: Harness, name: str, home: str) -> str:
    key, now = f"{GROUP.lower()}/{name}", harness.clock()
    with harness.database.write() as connection:
        resources.insert(
            connection,
            key=key,
            written=key,
            kind="things",
            parent=GROUP.lower(),
            name=name,
            spec={},
            status={},
            state="Running",
            now=now,
            by="test",
            home=home,
        )
    return key


def test_what_is_no_more_this_servers_is_ended_and_what_cannot_be_is_tried_again(harness: Harness) -> None:
    owners = {
        "mine": add(harness, "a", "me"),
        "damaged": add(harness, "b", "other"),
        "theirs": add(harness, "c", "other"),
        "nobodys": f"{GROUP.lower()}/gone",
    }
    ended: list[str] = []
    tried = threading.Semaphore(0)

    def remove(name: str) -> None:
        tried.release()
        if name == "damaged" and "theirs" not in ended:
            raise ValueError("no JSON")
        ended.append(name)
        del owners[name]

    made = Orphans(harness.database, Servers(harness.database, harness.clock, "me"), lambda: dict(owners), remove)
    thread = threading.Thread(target=made.run)
    thread.start()
    for _ in range(3):
        assert tried.acquire(timeout=PATIENCE_S)
    made.look_again()
    assert tried.acquire(timeout=PATIENCE_S), "it is tried again"
    made.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert sorted(ended) == ["damaged", "nobodys", "theirs"] and list(owners) == ["mine"]


def test_routes_of_what_another_serves_go_first_though_it_takes_the_proxy_a_while(harness: Harness) -> None:
    said: list[str] = []
    answers = iter([RuntimeError("the database is away"), False, True])
    all_said = threading.Event()

    def withdraw() -> bool:
        said.append("withdraw")
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    def owners() -> dict[str, str]:
        said.append("tasks")
        if len(said) == 2:
            made.look_again()
        if len(said) == 6:
            all_said.set()
        return {}

    servers = Servers(harness.database, harness.clock, "me")
    made = Orphans(harness.database, servers, owners, lambda name: None, withdraw, every_s=60)
    thread = threading.Thread(target=made.run)
    thread.start()
    assert all_said.wait(PATIENCE_S), said
    made.stop()
    thread.join(PATIENCE_S)
    assert said == ["withdraw", "tasks"] * 3 and not thread.is_alive()
