"""The ranks of a task behind walls: one sandbox for all of them, and a foreman into which none of them looks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.walled import (
    LANDLOCK,
    OWN_NETWORK,
    OWN_USER,
    PLAIN_USER,
    WHO_TESTS,
    WITHOUT_RIGHTS,
    Walled,
    succeeds,
    walled_root,
)
from smalt.agent.ranks import RankSpec

RANKS = [RankSpec(variables={"RANK": str(one)}) for one in range(2)]
TOGETHER = "touch up.$RANK; until [ -e up.0 ] && [ -e up.1 ]; do :; done; "


@pytest.fixture(params=[OWN_USER, WITHOUT_RIGHTS, PLAIN_USER, OWN_NETWORK, LANDLOCK, WHO_TESTS])
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with walled_root(*request.param) as made:
        yield made


def test_ranks_share_namespaces_and_dev_shm(walled: Walled) -> None:
    names = "readlink /proc/self/ns/{ipc,mnt,pid,net,uts} > ns.$RANK; stat -c %d /dev/shm >> ns.$RANK; "
    shared = "[ $RANK = 0 ] && mkdir -p $PLACE && echo shared > $PLACE/word; "
    seen = "until [ -s $PLACE/word ]; do :; done; cat $PLACE/word; cmp ns.0 ns.1"
    place = "PLACE=$TMPDIR; " if walled.level == "files" else "PLACE=/dev/shm/own; "
    log = succeeds(walled.run(place + names + shared + TOGETHER + seen, ranks=RANKS, timeout_s=20))
    assert log == "shared\nshared\n"


def test_ranks_see_each_other_as_processes(walled: Walled) -> None:
    log = succeeds(
        walled.run(
            f"echo $$ > pid.$RANK; {TOGETHER} kill -0 $(cat pid.0) $(cat pid.1) && echo seen; touch saw.$RANK; until [ -e saw.0 ] && [ -e saw.1 ]; do :; done",
            ranks=RANKS,
            timeout_s=20,
        )
    )
    assert log == "seen\nseen\n"


def test_no_rank_looks_into_the_foreman(walled: Walled) -> None:
    """It is a copy of the agent, and behind the walls it is of the ranks' own user."""
    looks = "cat /proc/$PPID/environ || cat /proc/$PPID/maps || readlink /proc/$PPID/fd/* || ls /proc/$PPID/root/"
    log = succeeds(
        walled.run(
            f"grep ^Name: /proc/$PPID/status; ({looks}) 2> /dev/null && exit 1; exit 0", ranks=RANKS, timeout_s=20
        )
    )
    assert log == 2 * "Name:\tsmalt-foreman\n"


def test_ranks_have_the_rights_of_a_command_and_no_more(walled: Walled) -> None:
    command = "grep -E '^Cap(Eff|Prm|Bnd|Amb):' /proc/self/status | grep -v -w 0000000000000000; grep NoNewPrivs: /proc/self/status"
    if walled.level == "files":
        command = "grep NoNewPrivs: /proc/self/status"
    assert succeeds(walled.run(command, ranks=RANKS, timeout_s=20)) == 2 * "NoNewPrivs:\t1\n"


def test_an_open_file_of_the_foreman_is_none_of_the_agents(walled: Walled) -> None:
    """The task's lock, its state, the agent's pipes: a foreman that lives longer must not hold them."""
    folder, pid = walled.begin("echo up > up; mkfifo gate; read _ < gate", ranks=RANKS[:1])
    state = walled.until(folder, lambda one: (folder / "user" / "work" / "gate").exists() and bool(one.pid))
    opened = {str(one.readlink()) for one in Path(f"/proc/{state.pid}/fd").iterdir()}
    assert not [one for one in opened if str(folder) in one], opened
    (folder / "user" / "work" / "gate").write_text("go\n")
    os.waitpid(pid, 0)
