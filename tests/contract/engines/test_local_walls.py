"""Tasks behind walls: what a job can do today, tried; as root with and without a user of its own, and as a plain user.

The platform of these tests has secrets, sockets, a database and other tasks under its root as a real one has.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.refs import ref
from fakes.walled import (
    ATTACKS,
    OWN_NETWORK,
    OWN_USER,
    PLAIN_OWN_NETWORK,
    PLAIN_USER,
    PYTHON,
    WHO_TESTS,
    WITHOUT_RIGHTS,
    Walled,
    refused,
    stop,
    succeeds,
    traps_sigterm,
    walled_root,
)
from smalt.agent.wire import (
    InputSpec,
    Outcome,
    OutputSpec,
    Phase,
    Probe,
    ServerSpec,
)


@pytest.fixture(params=[OWN_USER, WITHOUT_RIGHTS, PLAIN_USER, OWN_NETWORK, PLAIN_OWN_NETWORK, WHO_TESTS])
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with walled_root(*request.param) as made:
        yield made


def test_inputs_outputs_and_artifacts_are_where_they_were(walled: Walled) -> None:
    data = walled.root / "blobs" / "data"
    data.mkdir(mode=0o700)
    (data / "a.csv").write_text("1,2\n")
    (data / "a.csv").chmod(0o600)
    other = data / "other.txt"
    other.write_text("not yours\n")
    log = succeeds(
        walled.run(
            "cat ${{inputs.folder}}/a.csv ${{inputs.file}} && ls $(dirname ${{inputs.file}})"
            " && echo out > ${{outputs.folder}}/b.txt && echo one > ${{outputs.file}} && echo art > outputs/c.txt"
            " && echo up > ${{outputs.later}}/d.txt && pwd && touch here ~/kept /tmp/gone",
            inputs=[
                InputSpec(name="folder", type="uri_folder", source=ref(data)),
                InputSpec(name="file", type="uri_file", source=ref(data / "a.csv")),
            ],
            outputs=[
                OutputSpec(name="folder", target=ref(walled.root / "blobs" / "out")),
                OutputSpec(name="file", type="uri_file", target=ref(walled.root / "blobs" / "files" / "one.txt")),
                OutputSpec(name="later", mode="upload", target=ref(walled.root / "blobs" / "later")),
            ],
            artifacts=ref(walled.root / "blobs" / "run"),
        )
    )
    assert log.splitlines()[:3] == ["1,2", "1,2", "a.csv"]
    for name, text in {
        "out/b.txt": "out",
        "files/one.txt": "one",
        "run/outputs/c.txt": "art",
        "later/d.txt": "up",
    }.items():
        written = walled.root / "blobs" / name
        assert written.read_text() == f"{text}\n"
        assert written.stat().st_uid == walled.root.stat().st_uid, "files stay the platform's on disk"
    assert (walled.root / "homes" / "w" / "kept").exists()


def test_what_a_job_could_do_in_the_open_is_refused(walled: Walled) -> None:
    refused(walled)


def test_the_same_attacks_succeed_in_the_open(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    root = tmp_path / "root"
    root.mkdir()
    made = Walled(root, None, 0)
    attacks = [ATTACKS[name] for name in ("secrets", "database", "task.json", "server's socket", "processes")]
    for attack in attacks:
        succeeds(made.run(attack.replace("{root}", str(root)), walls=None))
    made.listener.close()


def test_pip_takes_packages_from_where_its_user_has_said(walled: Walled, monkeypatch: pytest.MonkeyPatch) -> None:
    told = walled.root.parent / f"{walled.root.name}-pip.conf"
    told.write_text("[global]\nindex-url = https://me:s3cret@packages.example/simple\n")
    told.chmod(0o644)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(told))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    log = succeeds(walled.run(f"echo index $PIP_INDEX_URL; env | grep s3cret; cat {told}; true"))
    assert "index https://packages.example/simple" in log and "s3cret" not in log


def test_who_and_where_it_is(walled: Walled) -> None:
    log = succeeds(
        walled.run(f"id -un; hostname; getent hosts node-1; echo $HOME $TMPDIR; cat {walled.root}/tls/bundle.pem")
    )
    name, host, peer, places, bundle = log.splitlines()
    assert (name, host, peer.split()) == ("smalt", "node-0", ["127.0.0.1", "node-1"])
    assert places == f"{walled.root}/homes/w /tmp" and bundle == "BUNDLE"


def test_its_files_and_processes_go_with_it(walled: Walled) -> None:
    mark = f"{time.time_ns() % 10**9}"
    folder, pid = walled.begin(f"setsid sleep {mark} & setsid sleep {mark} & disown -a; exit 3")
    os.waitpid(pid, 0)
    state = walled.state(folder)
    assert state is not None and state.exit_code == 3
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], stdout=subprocess.DEVNULL).returncode == 1


def test_a_trap_of_sigterm_writes_its_checkpoint(walled: Walled) -> None:
    traps_sigterm(walled)


def test_sigterm_ends_what_does_not_trap_it_at_once(walled: Walled) -> None:
    folder, pid = walled.begin("exec sleep 600")
    walled.until(folder, lambda state: state.phase is Phase.RUNNING)
    begun = time.monotonic()
    stop(walled, folder, 600)
    os.waitpid(pid, 0)
    state = walled.state(folder)
    assert state is not None and state.outcome is Outcome.STOPPED and state.exit_code == 128 + 15
    assert time.monotonic() - begun < 60


def test_a_stop_waits_for_what_the_main_process_left(walled: Walled) -> None:
    place = walled.root / "blobs" / "out"
    folder, pid = walled.begin(
        "(trap 'sleep 0.3; echo done > ${{outputs.o}}/last; exit' TERM; touch ${{outputs.o}}/up; while :; do sleep 0.02; done) &"
        " wait",
        outputs=[OutputSpec(name="o", target=ref(place))],
    )
    walled.until(folder, lambda state: (place / "up").exists())
    stop(walled, folder, 15)
    os.waitpid(pid, 0)
    assert (place / "last").exists()


def test_what_ignores_sigterm_is_killed_after_its_grace(walled: Walled) -> None:
    place = walled.root / "blobs" / "out"
    folder, pid = walled.begin(
        "trap '' TERM; touch ${{outputs.o}}/up; while :; do sleep 0.02; done",
        outputs=[OutputSpec(name="o", target=ref(place))],
    )
    walled.until(folder, lambda state: (place / "up").exists())
    stop(walled, folder, 0.2)
    os.waitpid(pid, 0)
    state = walled.state(folder)
    assert state is not None and state.exit_code == 128 + 9


def test_a_killed_agent_takes_everything_with_it(walled: Walled) -> None:
    mark = f"{time.time_ns() % 10**9}"
    folder, pid = walled.begin(f"setsid sleep {mark} & sleep {mark}")
    state = walled.until(folder, lambda state: state.phase is Phase.RUNNING)
    os.kill(state.agent_pid, 9)
    os.waitpid(pid, 0)  # the warden
    state = walled.state(folder)
    assert state is not None and state.outcome is Outcome.LOST
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], stdout=subprocess.DEVNULL).returncode == 1


SERVE = """
import os, socket
s = socket.socket(socket.AF_UNIX); s.bind(os.environ["SMALT_LISTEN"].removeprefix("unix:")); s.listen()
while True:
    c, _ = s.accept(); c.recv(4096); c.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\ninside"); c.close()
"""


def test_a_server_inside_is_probed_and_reached_from_outside(walled: Walled) -> None:
    folder, pid = walled.begin("", argv=[PYTHON, "-c", SERVE], ready=Probe(path="/ready"))
    state = walled.until(folder, lambda state: state.ready or state.phase is Phase.EXITED)
    assert state.ready, state.error
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.path.relpath(state.address.path))
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(200).endswith(b"inside")
    stop(walled, folder, 0)
    os.waitpid(pid, 0)


def test_a_served_model_is_the_stores_and_cannot_be_changed(walled: Walled) -> None:
    model = walled.root / "blobs" / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors: {}")
    server = ServerSpec(model=ref(model), script="score.py")
    folder, pid = walled.begin("", server=server)
    os.waitpid(pid, 0)  # it ends: there is no interpreter of an environment
    assert (model / "MLmodel").read_text() == "flavors: {}"
    assert not (folder / "user" / "model" / "model" / "MLmodel").exists(), "a mount, and no link to the store's file"


def test_shared_memory_is_the_tasks_own(walled: Walled) -> None:
    outside = Path(f"/dev/shm/smalt-test-{os.getpid()}")
    outside.write_text("x")
    try:
        log = succeeds(walled.run("ls -A /dev/shm; echo x > /dev/shm/inside; df --output=fstype /dev/shm | tail -1"))
    finally:
        outside.unlink()
    assert log.split() == ["tmpfs"] and not Path("/dev/shm/inside").exists()


def test_an_environment_and_its_interpreter_are_found_through_every_link(walled: Walled) -> None:
    hidden = walled.root.parent / "closed"
    hidden.mkdir(mode=0o711)
    (hidden / "versions").symlink_to(Path(sys.base_prefix).parent)
    prefix = walled.root / "env"
    python = hidden / "versions" / Path(sys.base_prefix).name / "bin" / f"python3.{sys.version_info.minor}"
    subprocess.run([python, "-m", "venv", "--without-pip", prefix], check=True)
    if walled.plain and not all(above.stat().st_mode & 0o001 for above in Path(sys.base_prefix).parents):
        pytest.skip("a plain user of this machine cannot reach the interpreter of these tests")
    log = succeeds(walled.run("python -c 'import sys, ssl, ctypes; print(sys.prefix)'", environment=str(prefix)))
    assert log.strip().endswith("user/venv")
