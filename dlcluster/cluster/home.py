"""The folder that this machine's cluster is remembered in: where it is, its lock, its token, safe writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dlcluster.cluster.tokens import read_token
from dlcluster.errors import ClusterError, UsageError

_POLL_SECONDS = 0.1
_YOURS = "Set DLCLUSTER_HOME to a folder of yours that can be written."


def state_dir() -> Path:
    """``DLCLUSTER_HOME``, else ``~/.dlcluster/<host name>``; not necessarily there yet.

    A folder per host, since a home folder may be shared by machines that each have a cluster.

    Raises:
        ClusterError: There is no home folder to put it in.
    """
    if named := os.environ.get("DLCLUSTER_HOME"):
        return Path(named).expanduser().absolute()
    host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node()).strip(".") or "localhost"
    try:
        return Path.home() / ".dlcluster" / host
    except RuntimeError as error:
        raise ClusterError("There is no home folder for the cluster's state.", hint=_YOURS) from error


def made_state_dir() -> Path:
    """The state folder, made if missing, for this user's eyes only.

    Raises:
        ClusterError: It can't be made, or is another user's.
    """
    folder = state_dir()
    with state_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.stat()
        if info.st_uid != os.getuid():
            raise ClusterError(f"{folder} is another user's, who could read the token.", hint=_YOURS)
        if stat.S_IMODE(info.st_mode) != 0o700:
            folder.chmod(0o700)
    return folder


def made_token(folder: Path) -> Path:
    """The file with Ray's token, 0600; written anew if there is none, or none that can be used."""
    path = folder / "token"
    with state_errors(folder):
        with contextlib.suppress(UsageError):
            read_token(path, str(path))
            path.chmod(0o600)
            return path
        write(path, secrets.token_hex(32))
    return path


def write(path: Path, text: str) -> None:
    """Writes a file that only this user can read, all of it or nothing.

    Raises:
        ClusterError: The folder can't be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with state_errors(path.parent):
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


@contextlib.contextmanager
def locked(folder: Path, say: Callable[[str], object], timeout: float) -> Iterator[None]:
    """Holds the folder's lock, so that one process at a time starts or stops the cluster.

    The system drops the lock of a process that dies.

    Args:
        folder: The state folder.
        say: Told once, if somebody else has the lock.
        timeout: Seconds to wait for it.

    Raises:
        ClusterError: It was not free in time.
    """
    with state_errors(folder):
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        until, told = time.monotonic() + timeout, False
        while not _taken(folder, descriptor):
            if time.monotonic() > until:
                raise ClusterError(
                    f"Another dlcluster has held {folder / 'lock'} for {timeout:g} s.",
                    hint="It is starting or stopping the cluster of this machine; try again later.",
                )
            if not told:
                say("Another dlcluster is starting or stopping the cluster of this machine; waiting ...")
                told = True
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(folder: Path, descriptor: int) -> bool:
    with state_errors(folder):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextlib.contextmanager
def state_errors(folder: Path) -> Iterator[None]:
    """Turns what the system says about the state folder into words."""
    try:
        yield
    except OSError as error:
        raise ClusterError(f"The cluster's state cannot be kept in {folder}: {error.strerror}.", hint=_YOURS) from error
