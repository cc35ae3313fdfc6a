"""All checks together: done in time, whatever one of them does, and shown to people and programs."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from fakes.machines import as_nobody, everything_below, machine
from smalt.cli.commands import doctor
from smalt.cli.main import app
from smalt.doctor import examine as module
from smalt.doctor import start
from smalt.doctor.checks import CHECKS, Check, Turn
from smalt.doctor.examine import Examined, examine
from smalt.doctor.finding import Finding, NotTried, State, no, none, ok, warn
from smalt.doctor.machine import Machine
from smalt.doctor.report import as_json, show
from smalt.settings import Settings


def check(
    name: str, look: Callable[[Machine], Finding], vital: bool = False, turn: Turn = Turn.ANY, section: str = "A"
) -> Check:
    return Check(section, name, name, look, vital, turn)


def good(_: Machine) -> Finding:
    return ok("fine")


def bad(_: Machine) -> Finding:
    return no("missing", "nothing works", "smalt up")


def cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *(str(one) for one in arguments)])


def text_of(*all_: Examined) -> str:
    console = Console(file=StringIO(), highlight=False, soft_wrap=True)
    show(all_, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_ids_and_titles_are_each_there_once() -> None:
    assert len({one.id for one in CHECKS}) == len({one.title for one in CHECKS}) == len(CHECKS)
    sections = [one.section for one in CHECKS]
    assert sections == sorted(sections, key=sections.index)


def test_the_ids_that_scripts_know() -> None:
    known = (
        "root settings disk file-system hard-links clones commits database store server port certificates trust"
        " isolation namespaces.user namespaces.mount namespaces.pid namespaces.net idmapped-mounts bubblewrap landlock"
        " cgroups memory open-files gpus clock clock.synchronised envoy uv pythons downloads containers ray"
    )
    assert {one.id for one in CHECKS} >= set(known.split())


def test_the_order_is_that_of_the_checks_whatever_ends_first(tmp_path: Path) -> None:
    def late(_: Machine) -> Finding:
        time.sleep(0.1)
        return ok("late")

    checks = [
        check("a", late),
        check("b", good, turn=Turn.MEASURES),
        check("c", good, turn=Turn.FORKS),
        check("d", good),
    ]
    assert [(one.check.id, one.finding.fact) for one in examine(machine(tmp_path), checks)] == [
        ("a", "late"),
        ("b", "fine"),
        ("c", "fine"),
        ("d", "fine"),
    ]


@pytest.mark.parametrize("turn", [Turn.ANY, Turn.MEASURES])
def test_what_hangs_holds_nothing_up(tmp_path: Path, turn: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(_: Machine) -> Finding:
        over.wait(600)
        return ok("")

    monkeypatch.setattr(module, "MEASURED_S", 0.2)
    began = time.monotonic()
    hung, other = examine(machine(tmp_path), [check("a", hang, turn=turn), check("b", good)], limit_s=1.0)
    over.set()
    assert time.monotonic() - began < 60
    assert (hung.finding.state, hung.finding.fact) == (State.WARN, "no answer within 1 s")
    assert other.finding == ok("fine")


def test_children_that_take_long_leave_time_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_: Machine) -> Finding:
        time.sleep(0.1)
        return ok("slow")

    monkeypatch.setattr(module, "FORKED_S", 0.05)
    first, second, other = examine(
        machine(tmp_path), [check("a", slow, turn=Turn.FORKS), check("b", slow, turn=Turn.FORKS), check("c", good)]
    )
    assert (first.finding.fact, other.finding.fact) == ("slow", "fine")
    assert second.finding.fact.startswith("no answer within")


def test_what_fails_takes_nothing_along_and_tells_no_secret(tmp_path: Path) -> None:
    def fail(_: Machine) -> Finding:
        raise ValueError("postgresql://ada:secret@host")

    def refused(_: Machine) -> Finding:
        raise PermissionError(13, "Permission denied")

    def not_tried(_: Machine) -> Finding:
        raise NotTried("/ cannot be written")

    checks = [check(str(at), look) for at, look in enumerate((fail, refused, not_tried, good))]
    found = [one.finding for one in examine(machine(tmp_path), checks)]
    assert [one.state for one in found] == [State.WARN, State.WARN, State.NONE, State.OK]
    assert [one.fact for one in found[:3]] == [
        "could not be looked at (ValueError)",
        "could not be looked at (Permission denied)",
        "not tried: / cannot be written",
    ]
    assert "secret" not in str(found)


def test_the_table() -> None:
    told = text_of(
        Examined(check("short", good), ok("fine")),
        Examined(check("a long name", good), warn("half [of it]", "slow", "hurry [up]")),
        Examined(check("x", good, section="B"), none("nothing", "nobody needs it")),
    )
    assert told == (
        "A\n"
        "  ok    short        fine\n"
        "  warn  a long name  half [of it]\n"
        "                     slow\n"
        "                     → hurry [up]\n"
        "\n"
        "B\n"
        "  -     x            nothing\n"
        "                     nobody needs it\n"
        "\n"
        "Smalt runs here; 1 of 3 could be better.\n"
    )


@pytest.mark.parametrize(
    ("vital", "end"), [(True, "Smalt cannot run here: a."), (False, "Smalt runs here; 1 of 1 could be better.")]
)
def test_the_last_line_and_the_exit_code(
    tmp_path: Path, vital: bool, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda examined: examine(examined, [check("a", bad, vital)]))
    said = cli("--root", tmp_path / "root")
    assert said.exit_code == int(vital)
    assert said.stdout.splitlines()[-1] == end


def test_json() -> None:
    told = json.loads(as_json([Examined(check("a", bad), bad(Machine(Settings(Path("/")))))]))
    assert told == [{"check": "a", "state": "no", "fact": "missing", "means": "nothing works", "remedy": "smalt up"}]


def test_the_command_on_a_root_that_is_not_there(tmp_path: Path) -> None:
    began = time.monotonic()
    said = cli("--root", tmp_path / "a" / "root", "--json")
    assert time.monotonic() - began < 60
    told = {one.pop("check"): one for one in json.loads(said.stdout)}
    assert list(told) == [one.id for one in CHECKS]
    assert told["root"]["state"] == told["hard-links"]["state"] == "ok"
    for id_, one in told.items():
        assert one["fact"] and "could not be looked at" not in one["fact"], id_
        assert bool(one["means"]) is (one["state"] != "ok"), id_
    assert everything_below(tmp_path) == set()


def test_the_command_on_settings_that_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"layout": 1, "database_url": "mysql://ada:secret@host"}')
    said = cli("--root", tmp_path)
    assert said.exit_code == 1
    assert "Smalt cannot run here: settings" in said.stdout and "secret" not in said.output
    assert everything_below(tmp_path) == {"config.json"}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone becomes another user")
def test_a_plain_user(public: Path) -> None:
    public.chmod(0o777)
    examined = machine(public)
    before = everything_below(public)
    told = {one["check"]: one for one in as_nobody(lambda: json.loads(as_json(examine(examined))))}
    assert list(told) == [one.id for one in CHECKS]
    assert told["root"]["state"] == told["hard-links"]["state"] == told["store"]["state"] == "ok"
    assert told["idmapped-mounts"]["fact"] == "only root may make them"
    failed = [one for one in told.values() if "could not be looked at" in one["fact"]]
    assert not failed
    assert everything_below(public) == before


def test_what_up_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        start, "_ASKED", {"this": good, "cgroups": bad, "disk": lambda _: warn("full", "no room", "rm")}
    )
    assert start.notes(machine(tmp_path)) == ["cgroups: missing; nothing works.", "disk: full; no room."]


def test_what_up_says_takes_no_time_and_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("it started a program"))
    took: list[float] = []
    for _ in range(5):
        began = time.process_time()
        start.notes(machine(tmp_path))
        took.append(time.process_time() - began)
    assert min(took) < 0.05
