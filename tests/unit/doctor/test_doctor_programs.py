"""The programs around Smalt, with others in their place."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.machines import machine, program
from live.ports import free_port
from smalt.doctor import programs
from smalt.doctor.finding import State
from smalt.doctor.machine import Machine
from smalt.environments.uv.interpreters import Interpreter


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def with_variables(tmp_path: Path, **variables: str) -> Machine:
    examined = machine(tmp_path)
    return replace(examined, variables={**examined.variables, **variables})


def test_what_smalt_brings_along_runs(tmp_path: Path) -> None:
    for look in (programs.envoy, programs.uv):
        found = look(machine(tmp_path))
        assert found.state is State.OK and found.fact[0].isdigit(), found


def missing() -> str:
    raise FileNotFoundError("Envoy's binary is missing: install it again.")


@pytest.mark.parametrize(("name", "look"), [("binary", programs.envoy), ("find_uv_bin", programs.uv)])
def test_what_is_missing_or_broken(
    tmp_path: Path, name: str, look: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, name, missing)
    assert "missing" in str(look(machine(tmp_path))) and "state=<State.NO" in str(look(machine(tmp_path)))
    broken = program(tmp_path, "broken", "echo version GLIBC_2.38 not found >&2; exit 127")
    monkeypatch.setattr(programs, name, lambda: broken)
    assert "does not run: version GLIBC_2.38 not found" in str(look(machine(tmp_path)))


@pytest.mark.parametrize(("versions", "state", "fact"), [("3.9 3.12", State.OK, "3.9, 3.12"), ("3.11", State.WARN, "3.11 alone")])  # fmt: skip
def test_pythons(tmp_path: Path, versions: str, state: State, fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuple(Interpreter(one, Path("python")) for one in versions.split())
    monkeypatch.setattr(programs, "find_interpreters", lambda variables: found)
    told = programs.interpreters(machine(tmp_path))
    assert (told.state, told.fact) == (state, fact)


def test_downloads_from_where_the_variables_say(tmp_path: Path, listening: int) -> None:
    index = f"https://ada:secret@127.0.0.1:{listening}/simple"
    examined = with_variables(
        tmp_path, UV_DEFAULT_INDEX=index, UV_PYTHON_INSTALL_MIRROR=f"http://127.0.0.1:{free_port()}"
    )
    found = programs.downloads(examined)
    assert (found.state, found.fact) == (State.OK, "packages from 127.0.0.1, no Pythons from 127.0.0.1")


def test_no_index_answers(tmp_path: Path) -> None:
    nobody = f"https://ada:secret@127.0.0.1:{free_port()}/simple"
    found = programs.downloads(with_variables(tmp_path, PIP_INDEX_URL=nobody, UV_PYTHON_INSTALL_MIRROR="file:///"))
    assert (found.state, found.fact) == (State.WARN, "no packages from 127.0.0.1, Pythons from nowhere")
    assert "secret" not in str(found)


def test_a_proxy_is_asked_instead(tmp_path: Path, listening: int) -> None:
    there = {"UV_DEFAULT_INDEX": "https://index.invalid/simple", "UV_PYTHON_INSTALL_MIRROR": "https://pythons.invalid"}
    assert programs.downloads(with_variables(tmp_path, **there)).state is State.WARN
    for proxy in (f"http://127.0.0.1:{listening}", f"127.0.0.1:{listening}"):
        assert programs.downloads(with_variables(tmp_path, **there, HTTPS_PROXY=proxy)).state is State.OK


def test_offline_by_choice_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("it connected"))
    found = programs.downloads(with_variables(tmp_path, UV_OFFLINE="1"))
    assert (found.state, found.fact) == (State.NONE, "UV_OFFLINE is set")


def test_containers(tmp_path: Path) -> None:
    examined = machine(tmp_path)
    assert programs.containers(examined).fact == "neither docker nor podman"
    program(tmp_path, "docker", "echo; echo Cannot connect to the daemon >&2; exit 1")
    found = programs.containers(examined)
    assert (found.state, found.fact) == (State.NONE, "docker does not answer (Cannot connect to the daemon)")
    program(tmp_path, "podman", "echo 5.4.0")
    found = programs.containers(examined)
    assert (found.state, found.fact) == (State.OK, "podman 5.4.0")


@pytest.mark.parametrize(("manager", "command"), [("dnf", "dnf install podman"), ("apk", "apk add podman"), ("", "apt-get install podman")])  # fmt: skip
def test_what_installs_is_this_machine_s(tmp_path: Path, manager: str, command: str) -> None:
    examined = machine(tmp_path)
    if manager:
        program(tmp_path, manager, "")
    assert examined.install("podman").removeprefix("sudo ") == command
