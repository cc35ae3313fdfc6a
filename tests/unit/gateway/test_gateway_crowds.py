"""Who is connected, as the kernel says it, and who is bounded for it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from smalt.gateway import crowds as crowds_module
from smalt.gateway.crowds import Crowds, Room, connections

PORT = 8443
ESTABLISHED, TIME_WAIT, LISTEN = "01", "06", "0A"
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"


def written(address: str) -> str:
    """As the kernel prints it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(raw) // 4}I", raw))


def kernel(proc: Path, *remote: str, state: str = ESTABLISHED, port: int = PORT, more: int = 0) -> None:
    """Sockets of `port` with the addresses `remote` (both families), and `more` that have nothing to do with it."""
    lines = {"tcp": HEAD, "tcp6": HEAD}
    for number, address in enumerate(remote):
        local = "::1" if ":" in address else "127.0.0.1"
        line = f"{number}: {written(local)}:{port:04X} {written(address)}:{40000 + number:04X} {state} 0:0 00:0 0 0 0\n"
        lines["tcp6" if ":" in address else "tcp"] += line
    for name, text in lines.items():
        (proc / name).write_text(text)
    (proc / "sockstat").write_text(f"sockets: used 9\nTCP: inuse {len(remote) + more} orphan 0 tw 0\nUDP: inuse 1\n")
    (proc / "sockstat6").write_text("TCP6: inuse 0\nUDP6: inuse 3\n")


def test_connections_are_counted_by_address_and_by_the_house_of_ipv6(tmp_path: Path) -> None:
    kernel(tmp_path, "192.0.2.7", "192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.8")
    assert connections(PORT, tmp_path) == {"192.0.2.7/32": 2, "192.0.2.8/32": 2, "2001:db8::/64": 2}


@pytest.mark.parametrize(("state", "port"), [(TIME_WAIT, PORT), (LISTEN, PORT), (ESTABLISHED, PORT + 1)])
def test_what_is_over_or_elsewhere_is_none(tmp_path: Path, state: str, port: int) -> None:
    kernel(tmp_path, "192.0.2.7", state=state, port=port)
    assert not connections(PORT, tmp_path)


def test_a_kernel_without_ipv6_and_one_that_says_nothing(tmp_path: Path) -> None:
    kernel(tmp_path, "192.0.2.7")
    (tmp_path / "tcp6").unlink()
    assert connections(PORT, tmp_path) == {"192.0.2.7/32": 1}
    (tmp_path / "tcp").unlink()
    with pytest.raises(OSError, match="tcp"):
        connections(PORT, tmp_path)


def test_who_has_too_many_is_bounded_until_he_has_none(tmp_path: Path) -> None:
    told: list[tuple[list[str], float]] = []

    def bind(crowds: Sequence[str], pressure: float) -> None:
        told.append((list(crowds), pressure))

    crowds = Crowds(PORT, Room(16), bind, proc=tmp_path)
    kernel(tmp_path, *["192.0.2.7"] * 4)
    crowds.look()
    kernel(tmp_path, *["192.0.2.7"] * 5, "192.0.2.8")
    crowds.look()
    crowds.look()
    kernel(tmp_path, "192.0.2.7")
    crowds.look()
    kernel(tmp_path)
    crowds.look()
    assert told == [([], 0.2), (["192.0.2.7/32"], 0.4), (["192.0.2.7/32"], 0.1), ([], 0.0)]


def test_what_could_not_be_told_is_told_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full for a while; and where nobody says who is connected, nothing is watched."""
    told: list[list[str]] = []
    stopped, tries = threading.Event(), iter([OSError(28, "No space left on device")])

    def bind(crowds: Sequence[str], _pressure: float) -> None:
        if (error := next(tries, None)) is not None:
            raise error
        told.append(list(crowds))
        stopped.set()

    monkeypatch.setattr(crowds_module, "EVERY_S", 0.001)
    kernel(tmp_path, *["192.0.2.7"] * 5)
    Crowds(PORT, Room(16), bind, proc=tmp_path).run(stopped)
    assert told == [["192.0.2.7/32"]]
    Crowds(PORT, Room(16), bind, proc=tmp_path / "none").run(threading.Event())


def test_four_are_bounded_at_most(tmp_path: Path) -> None:
    told: list[list[str]] = []
    crowds = Crowds(PORT, Room(4), lambda found, _pressure: told.append(list(found)), proc=tmp_path)
    kernel(tmp_path, *[f"192.0.2.{number}" for number in range(6)] * 2)
    crowds.look()
    assert len(told[-1]) == 4


def test_where_there_are_few_sockets_the_table_is_not_read(tmp_path: Path) -> None:
    told: list[float] = []
    crowds = Crowds(PORT, Room(16), lambda _crowds, pressure: told.append(pressure), proc=tmp_path)
    kernel(tmp_path)
    crowds.look()
    (tmp_path / "tcp").unlink()
    crowds.look()
    kernel(tmp_path, *["192.0.2.7"] * 2, more=3)
    crowds.look()
    assert told == [0.0, 0.1]


def test_where_sockets_are_not_counted_the_table_is_read(tmp_path: Path) -> None:
    told: list[float] = []
    crowds = Crowds(PORT, Room(16), lambda _crowds, pressure: told.append(pressure), proc=tmp_path)
    kernel(tmp_path)
    crowds.look()
    kernel(tmp_path, *["192.0.2.7"] * 2)
    for name in ("sockstat", "sockstat6"):
        (tmp_path / name).unlink()
    crowds.look()
    assert told == [0.0, 0.1]


def test_this_machine_is_never_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of its addresses it has; its neighbours in an IPv6 network are."""
    cards = {"lo": ["127.0.0.1", "::1"], "eth0": ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "00:11:22:33:44:55"]}
    families = {".": socket.AF_INET, "::": socket.AF_INET6}

    def card(address: str) -> SimpleNamespace:
        family = next((one for mark, one in families.items() if mark in address), socket.AF_PACKET)
        return SimpleNamespace(family=family, address=address)

    found = {name: [card(one) for one in addresses] for name, addresses in cards.items()}
    monkeypatch.setattr(crowds_module.psutil, "net_if_addrs", lambda: found)
    told: list[tuple[list[str], float]] = []
    tell = lambda bounded, pressure: told.append((list(bounded), pressure))  # noqa: E731
    crowds = Crowds(PORT, Room(64), tell, shared=True, proc=tmp_path)
    mine = ["127.0.0.1", "127.0.0.9", "::1", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]
    kernel(tmp_path, *mine * 20, "192.0.2.7", "2001:db8::2")
    crowds.look()
    kernel(tmp_path, *["2001:db8::2"] * 17)
    crowds.look()
    assert told == [([], 1.0), (["2001:db8::/64"], 0.5)]


def test_what_is_bounded_is_let_go_before_its_last_connection(tmp_path: Path) -> None:
    room, told = Room(320), list[list[str]]()
    crowds = Crowds(PORT, room, lambda found, _pressure: told.append(list(found)), proc=tmp_path)
    for count in (room.crowd + 1, room.calm + 1, room.calm):
        kernel(tmp_path, *["192.0.2.7"] * count)
        crowds.look()
    assert told == [["192.0.2.7/32"], ["192.0.2.7/32"], []] and room.calm == 10


def test_what_nobody_expected_is_said_and_the_next_look_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told, stopped, tries = list[float](), threading.Event(), iter([ValueError("what is this")])

    def bind(_crowds: Sequence[str], pressure: float) -> None:
        if (error := next(tries, None)) is not None:
            raise error
        told.append(pressure)
        stopped.set()

    monkeypatch.setattr(crowds_module, "EVERY_S", 0.001)
    kernel(tmp_path, "192.0.2.7")
    Crowds(PORT, Room(16), bind, proc=tmp_path).run(stopped)
    assert told == [0.1] and "ValueError('what is this')" in caplog.text and "Traceback" in caplog.text


def test_half_of_all_is_all_for_other_machines(tmp_path: Path) -> None:
    told: list[float] = []
    crowds = Crowds(PORT, Room(40), lambda _crowds, pressure: told.append(pressure), shared=True, proc=tmp_path)
    kernel(tmp_path, *["127.0.0.1"] * 10, *["192.0.2.7"] * 10)
    crowds.look()
    kernel(tmp_path, *["127.0.0.1"] * 10, *["192.0.2.7"] * 10, *["192.0.2.8"] * 10)
    crowds.look()
    assert told == [0.5, 1.0]
