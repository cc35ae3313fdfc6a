"""The weak walls: Landlock alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.refs import ref
from fakes.walled import PLAIN, Walled, needs_root, refused, succeeds, traps_sigterm, walled_root
from smalt.agent.wire import InputSpec, OutputSpec

FENCED = [
    "secrets",
    "list the root",
    "database",
    "task.json",
    "private keys of the machine",
    "write the machine",
    "input",
]


@pytest.fixture(
    params=[pytest.param(None, id="root", marks=needs_root), pytest.param(PLAIN, id="plain user", marks=needs_root)]
)
def fenced(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with walled_root(request.param, 0, "files") as made:
        yield made


def test_landlock_alone_keeps_files(fenced: Walled) -> None:
    refused(fenced, [*FENCED, "set-user-id programs"])


def test_behind_landlock_a_job_works(fenced: Walled) -> None:
    data = fenced.root / "blobs" / "data"
    data.mkdir(mode=0o700)
    (data / "a.csv").write_text("1,2\n")
    log = succeeds(
        fenced.run(
            "cat ${{inputs.folder}}/a.csv && echo out > ${{outputs.folder}}/b.txt && echo art > outputs/c.txt"
            f" && touch here ~/kept $TMPDIR/gone && cat {fenced.root}/tls/bundle.pem && echo x > /dev/null",
            inputs=[InputSpec(name="folder", type="uri_folder", source=ref(data))],
            outputs=[OutputSpec(name="folder", target=ref(fenced.root / "blobs" / "out"))],
            artifacts=ref(fenced.root / "blobs" / "run"),
        )
    )
    assert log == "1,2\nBUNDLE"
    assert (fenced.root / "blobs" / "out" / "b.txt").exists() and (fenced.root / "blobs/run/outputs/c.txt").exists()


def test_a_trap_of_sigterm_writes_its_checkpoint(fenced: Walled) -> None:
    traps_sigterm(fenced)
