"""The folder that a platform lives in: its settings file, who may open it, and the lock that makes `up` unique.

Everything is under the root. `config.json` remembers what `smalt up` was told; `up.lock` is held (flock) by the
supervisor for as long as it lives, whatever way it ends, and holds its process id.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from smalt.agent.whole_file import write_whole
from smalt.config import LAYOUT, read_config
from smalt.settings import Settings

_ENDING_S = (0.02, 0.05, 0.1)  # pauses for a supervisor that was killed and has not gone yet
CLAIM_S = 10.0  # certificates and keys are made between taking the lock and claiming it


class CliError(Exception):
    """What the user is told in one line; the command ends with `code`."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def no_platform(root: Path) -> CliError:
    return CliError(f"there is no platform on {root} yet; start it: smalt up --detach --root {root}")


def default_root() -> Path:
    return Path.home() / ".smalt"


def resolve(root: Path | None) -> Path:
    return (root or default_root()).expanduser().resolve()  # one name: the folder of sockets follows from it


def prepare(settings: Settings) -> None:
    """Create the root and the folders in it (0700). Safe to repeat, also beside a running platform."""
    root = settings.root
    read_config(root)
    check_folder(root)
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        root.chmod(0o700)
        for folder in (settings.logs, settings.tls, settings.secrets, settings.gateway):
            folder.mkdir(exist_ok=True, mode=0o700)
        prepare_private(settings.run)
    except PermissionError as error:
        raise CliError(f"{root} is not writable ({error.strerror}); choose another with --root.") from error
    except OSError as error:
        raise CliError(f"{root} cannot be used: {error.strerror or error}.") from error


def check_folder(root: Path) -> None:
    """The root becomes readable by its owner alone: never do that to a folder that has another purpose."""
    try:
        found = root.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise CliError(f"{root} cannot be used: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode):
        raise CliError(f"{root} is not a folder; choose another with --root.")
    if found.st_mode & stat.S_ISVTX or root in (Path("/"), Path.home()):
        raise CliError(
            f"{root} is for other things too; give the platform a folder of its own: --root {root / 'smalt'}"
        )
    if found.st_uid != os.getuid():
        raise CliError(f"{root} belongs to another user; choose another with --root.")


def remember(settings: Settings) -> None:
    """Write `config.json`; only for who holds the lock. The address always, else what is not as by default."""
    for draft in settings.root.glob(".config.json.*"):  # of one who was killed while writing it
        draft.unlink(missing_ok=True)
    config: dict[str, Any] = {"layout": LAYOUT}
    for one in fields(Settings):
        value = getattr(settings, one.name)
        if one.name in ("host", "port") or (one.name != "root" and value != one.default):
            config[one.name] = value
    write_whole(settings.root / "config.json", json.dumps(config, indent=2) + "\n", sync=True)


def prepare_private(run: Path) -> None:
    """A folder of ours alone. It may stand in the shared temporary folder, where anyone could have made it first."""
    run.mkdir(exist_ok=True, mode=0o700)
    found = run.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise CliError(f"{run} exists and is not ours; remove it.")
    run.chmod(0o700)


@dataclass(frozen=True)
class Lock:
    """The right to run the platform on a root. It passes to a child process with its descriptor."""

    descriptor: int

    def claim(self) -> None:
        """Write this process's id where `holder` finds it."""
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give it up, here: a process that it was passed to still has it."""
        os.close(self.descriptor)

    @contextmanager
    def released_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def take_lock(root: Path) -> Lock | None:
    """None if a supervisor of this root is alive. Raises CliError if the file system has no locks."""
    descriptor = os.open(root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline, pauses = time.monotonic() + CLAIM_S, iter(_ENDING_S)
    try:
        while not _locks(descriptor, fcntl.LOCK_EX, root):
            # beside those who only look (`holder`) one may look as well, however long they take
            pause = 0.02 if _locks(descriptor, fcntl.LOCK_SH, root) else next(pauses, None)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            if pause is None or time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(pause)
    except CliError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)  # an earlier holder's id means nothing now
    return Lock(descriptor)


def _locks(descriptor: int, how: int, root: Path) -> bool:
    """Whether it is locked now. Raises CliError."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        message = f"{root} is on a file system without locks ({error.strerror}); choose another with --root."
        raise CliError(message) from error
    return True


def holder(root: Path) -> int | None:
    """The process id of the supervisor that runs on this root, or None. 0 while it is about to write its id."""
    try:
        descriptor = os.open(root / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise CliError(f"{root} belongs to another user.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return int(os.pread(descriptor, 32, 0).strip() or b"0")
    finally:
        os.close(descriptor)
    return None


def wait_for_holder(root: Path) -> int | None:
    """`holder`, once it has written its id. Raises CliError if it does not."""
    deadline = time.monotonic() + CLAIM_S
    while (pid := holder(root)) == 0:
        if time.monotonic() > deadline:
            raise CliError(f"somebody holds {root / 'up.lock'} and does not say who.")
        time.sleep(0.02)
    return pid
