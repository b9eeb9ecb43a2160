"""A store in a folder: whole files only, made visible by link or rename."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from dlcluster.errors import ObjectNotFound, StoreError
from dlcluster.store.keys import check_key
from dlcluster.store.objects import ObjectInfo, Objects

if TYPE_CHECKING:
    import pyarrow.fs

_TRIES = 20  # a folder emptied by a deleter between our mkdir and our open, each time


def _fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(path: Path) -> None:
    """Make a folder and those above it so that a power cut does not lose them."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
        _fsync_folder(path.parent)


class LocalObjects(Objects):
    """Objects as files; temporary files are hidden ones in the same folder, which no listing shows."""

    is_local = True

    def __init__(self, folder: Path) -> None:
        path = Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 - resolve() would follow links
        self.uri = str(path)
        self._root = path / "v1"

    @contextmanager
    def _in_words(self, key: str) -> Iterator[None]:
        self.requests += 1
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the store {self.uri}: {error.strerror or error} ({key})",
                hint="check that the folder exists, is yours to write and that its disk is not full",
            ) from error

    def get(self, key: str) -> bytes:
        """Read a file; see ``Objects.get``."""
        path = self._root / check_key(key)
        with self._in_words(key):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectNotFound(f"{path} is not there") from None

    def get_with_age(self, key: str) -> tuple[bytes, float]:
        """Read a file and its age by the clock of the disk it lies on; see ``Objects.get_with_age``."""
        path = self._root / check_key(key)
        with self._in_words(key):
            try:
                with path.open("rb") as file:
                    data, written = file.read(), os.fstat(file.fileno()).st_mtime
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectNotFound(f"{path} is not there") from None
        return data, max(0.0, self._now() - written)

    def _now(self) -> float:
        """The disk's own time: on a shared one another machine's, so a file is touched."""
        probe = self._root / f".clock-{token_hex(8)}.tmp"
        try:
            with probe.open("xb") as file:
                file.write(b".")
                file.flush()
                return os.fstat(file.fileno()).st_mtime
        except OSError:  # read-only for us: this machine's clock is the best there is
            return time.time()
        finally:
            with suppress(OSError):
                probe.unlink()

    def _temporary(self, path: Path, data: bytes) -> Path:
        for _ in range(_TRIES):
            _make_folder(path.parent)
            temporary = path.parent / f".{token_hex(8)}.tmp"
            try:
                file = temporary.open("xb")
            except FileNotFoundError:
                continue
            try:
                with file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            return temporary
        raise FileNotFoundError(2, "the folder is removed again and again", str(path.parent))

    def put(self, key: str, data: bytes) -> None:
        """Write a file over what was there; see ``Objects.put``."""
        path = self._root / check_key(key)
        with self._in_words(key):
            temporary = self._temporary(path, data)
            try:
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _fsync_folder(path.parent)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write a file unless there is one; see ``Objects.put_if_absent``."""
        path = self._root / check_key(key)
        with self._in_words(key):
            if path.is_file():
                return False  # a committed object never goes back to absent while others race for it
            temporary = self._temporary(path, data)
            try:
                os.link(temporary, path)
                won = True
            except FileExistsError:
                # NFS may answer "exists" to its own repeated request: two names for our file mean that it was
                # ours.
                won = temporary.stat().st_nlink == 2
            finally:
                temporary.unlink(missing_ok=True)
            _fsync_folder(path.parent)
            return won

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """List files; see ``Objects.list``."""
        self.requests += 1
        folder, _, start = prefix.rpartition("/")
        yield from self._walk(folder, start, start_after)

    def _entries(self, folder: str) -> Sequence[tuple[str, os.DirEntry[str]]]:
        """Visible entries in the order of the keys below them: a folder sorts with its slash, as on S3."""
        try:
            with os.scandir(self._root / folder) as found:
                visible = [entry for entry in found if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"the store {self.uri}: {error.strerror or error} ({folder})") from error
        return sorted((entry.name + ("/" if entry.is_dir() else ""), entry) for entry in visible)

    def _walk(self, folder: str, start: str, start_after: str) -> Iterator[ObjectInfo]:
        base = f"{folder}/" if folder else ""
        for name, entry in self._entries(folder):
            key = base + name
            if not name.startswith(start):
                continue
            if name.endswith("/"):
                if not start_after.startswith(key) and key <= start_after:
                    continue
                yield from self._walk(key[:-1], "", start_after)
            elif key > start_after:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    yield ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def list_folders(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """List folders that hold an object; see ``Objects.list_folders``."""
        self.requests += 1
        folder, _, start = prefix.rpartition("/")
        base = f"{folder}/" if folder else ""
        for name, _entry in self._entries(folder):
            wanted = name.endswith("/") and name.startswith(start) and name[:-1] > start_after
            if wanted and next(self._walk(base + name[:-1], "", ""), None) is not None:
                yield name[:-1]

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, and the folders that this empties; see ``Objects.delete``."""
        for key in keys:
            path = self._root / check_key(key)
            with self._in_words(key):
                with suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()
                for parent in path.relative_to(self._root).parents:
                    if parent == Path():
                        break
                    try:
                        (self._root / parent).rmdir()
                    except OSError:  # not empty, or somebody else's now
                        break

    def filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """See ``Objects.filesystem``."""
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), f"{self._root}/"

    def locate(self, key: str) -> str:
        """See ``Objects.locate``."""
        return str(self._root / check_key(key))
