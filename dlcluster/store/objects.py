"""The only door to a store: get, list, put and put-if-absent, on a local folder or S3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from dlcluster.errors import StoreError, UsageError

if TYPE_CHECKING:
    import pyarrow.fs

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_PARALLEL = 16


class ObjectInfo(NamedTuple):
    """One line of a listing."""

    key: str
    size: int
    modified: datetime


class Objects(ABC):
    """Objects by key under ``<uri>/v1/``. Safe to use from several threads.

    Attributes:
        uri: The store's address, canonical: an absolute folder or ``s3://bucket/prefix``, no slash at the
        end. is_local: Whether it is a folder of this machine.
        requests: How many requests were sent (folders: calls made); what a command costs, for tests and talk.
        writable: Set once this process has checked that the store takes its writes (see ``probe.prepare``).
    """

    uri: str
    is_local: bool
    requests: int = 0
    writable: bool = False

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            ObjectNotFound: There is none.
            StoreError: The store is away or refuses.
        """

    @abstractmethod
    def get_with_age(self, key: str) -> tuple[bytes, float]:
        """Read an object and the seconds since it was written, by the store's own clock."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all, over what was there. Durable on return."""

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; True iff this call did. Of many racers one wins."""

    @abstractmethod
    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """List the objects whose key begins with ``prefix`` and comes after ``start_after``, ascending."""

    @abstractmethod
    def list_folders(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """List the next steps of keys that begin with ``prefix`` and go on below it.

        Args:
            prefix: ``runs/`` for every run, ``runs/20261121`` for those of a day.
            start_after: A name (not a key); only greater ones are listed.

        Yields:
            Names without a slash, ascending.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are fine."""

    @abstractmethod
    def filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """What pyarrow reads this store with, and the path to put before a key (it ends with a slash)."""

    @abstractmethod
    def locate(self, key: str) -> str:
        """The absolute path or S3 address of a key."""

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterable[_Out]:
        """Apply ``function`` to each item in order; over a network many at a time."""
        todo = list(items)
        if self.is_local or len(todo) < 2:
            return [function(item) for item in todo]
        with ThreadPoolExecutor(min(_PARALLEL, len(todo)), thread_name_prefix="store") as pool:
            return list(pool.map(function, todo))


def open_objects(uri: str | Path) -> Objects:
    """Open a store's objects; nothing is read or written yet.

    Args:
        uri: A folder, ``file://`` or ``s3://bucket/prefix``.

    Raises:
        UsageError: Another scheme, or no bucket.
    """
    text = str(uri)
    if not text:
        raise UsageError("the store's address is empty", hint="give a folder or s3://bucket/prefix")
    scheme = text.split("://", 1)[0] if "://" in text and not isinstance(uri, Path) else ""
    if scheme == "s3":
        from dlcluster.store.s3 import S3Objects

        return S3Objects(text)
    from dlcluster.store.local import LocalObjects

    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(
                f"{text}: file:// names a folder of this machine", hint=f"file:///{parts.netloc}{parts.path}"
            )
        return LocalObjects(Path(unquote(parts.path)))
    if scheme:
        raise UsageError(
            f"{text}: a store is a folder or s3://bucket/prefix, not {scheme}://",
            hint="for other S3-compatible stores set AWS_ENDPOINT_URL_S3",
        )
    if Path(text).is_file():
        raise StoreError(f"the store {text} is a file", hint="give a folder or s3://bucket/prefix")
    return LocalObjects(Path(text))


def __getattr__(name: str) -> Any:
    if name == "LocalObjects":
        from dlcluster.store.local import LocalObjects

        return LocalObjects
    if name == "S3Objects":
        from dlcluster.store.s3 import S3Objects

        return S3Objects
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
