"""Finds the files behind a path: one file, a folder or a glob; local, in S3, or at an https address."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    from pyarrow import fs

_HASHED_BYTES = 256 * 2**20
_MOST_LISTED = 20
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class File:
    """One file that was found.

    Attributes:
        relative: Its path below the folder that was named, with ``/``; of a single file its name.
        shown: Its path as people know it.
        size: Bytes.
        modified: A number that changes with its content, nanoseconds where the file system has them.
        filesystem: What reads it.
        inner: Its path as ``filesystem`` knows it.
    """

    relative: str
    shown: str
    size: int
    modified: int
    filesystem: fs.FileSystem
    inner: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.relative.rpartition("/")[2]

    def read(self) -> bytes:
        """Reads all of it.

        Raises:
            DataError: When it cannot be read.
        """
        try:
            with self.filesystem.open_input_file(self.inner) as stream:
                return stream.read()  # type: ignore[no-any-return]
        except OSError as error:
            raise DataError(f"data.path: {self.shown}: {error}") from error


def cache_folder() -> Path:
    """Where downloads are kept: below ``DLCLUSTER_HOME``, else the user's cache folder."""
    home = os.environ.get("DLCLUSTER_HOME")
    if home:
        return Path(home) / "data"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "dlcluster" / "data"


def download(url: str, sha256: str | None = None, to: Path | None = None) -> Path:
    """Fetches an address, once.

    Args:
        url: An http or https address.
        sha256: What the file must hash to; None to take it as it is.
        to: Where it is kept; default a file of the cache.

    Raises:
        DataError: When it cannot be fetched, or is not what it should be.
    """
    import pooch
    import requests

    name = hashlib.sha256(url.encode()).hexdigest()[:16] + "-" + (Path(urlparse(url).path).name or "file")
    to = to or cache_folder() / name
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(
            pooch.retrieve(url, known_hash=f"sha256:{sha256}" if sha256 else None, fname=to.name, path=to.parent)
        )
    except requests.RequestException as error:
        raise DataError(
            f"{url} cannot be fetched: {_network_words(error)}",
            hint="Offline, give a copy of your own: data.path: /folder/with/the/files",
        ) from error
    except ValueError as error:  # the hash
        raise DataError(f"{url} is not what it should be: its sha256 is another than {sha256}") from error
    except OSError as error:
        raise DataError(f"{url} cannot be kept in {to.parent}: {error}") from error


def _network_words(error: Any) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    return "no answer (no network, or no such host)"


def find(path: str) -> list[File]:
    """Finds the files behind ``path``, sorted by their path; hidden ones in a folder are left out.

    Args:
        path: A file, a folder (searched through) or a glob; local, ``file://``, ``s3://``, ``http(s)://``.

    Raises:
        DataError: When there is none, with what is near.
    """
    from pyarrow import fs

    if path.startswith(("http://", "https://")):
        local = download(path)
        stat = local.stat()
        name = Path(urlparse(path).path).name or local.name
        return [File(name, path, stat.st_size, 0, fs.LocalFileSystem(), str(local))]
    filesystem, inner = _locate(path)
    try:
        info = filesystem.get_file_info(inner)
        if info.type == fs.FileType.File:  # even if its name has what else would be a glob
            return [_file(info, info.base_name, path, filesystem)]
        if info.type == fs.FileType.Directory:
            found = list(_below(filesystem, inner, path))
        elif _GLOB.search(inner):
            found = _globbed(filesystem, inner, path)
        else:
            raise DataError(f"data.path: {path}: {_nothing(path, inner)}")
    except OSError as error:
        raise DataError(f"data.path: {path}: {error}") from error
    if not found:
        what = "no file is in this folder" if info.type == fs.FileType.Directory else "no file matches"
        raise DataError(f"data.path: {path}: {what} (as seen from the machine that trains)")
    return found


def find_one(path: str) -> File:
    """Finds the one file behind ``path``.

    Raises:
        DataError: When there is none, or more than one.
    """
    files = find(path)
    if len(files) != 1:
        raise DataError(f"data.path: {path}: {len(files)} files are there; name one")
    return files[0]


def _locate(path: str) -> tuple[fs.FileSystem, str]:
    from pyarrow import fs

    if path.startswith("s3://"):
        import boto3

        from dlcluster.store.s3 import Connection

        session, parsed = boto3.Session(), urlparse(path)
        inner = f"{parsed.netloc}{path.removeprefix('s3://' + parsed.netloc)}"  # ? is no query here but a glob
        return Connection.from_environment(session).filesystem(session), inner.rstrip("/")
    local = unquote(path.removeprefix("file://")) if path.startswith("file://") else path
    return fs.LocalFileSystem(), str(Path(local).expanduser().absolute())


def _file(info: fs.FileInfo, relative: str, shown: str, filesystem: fs.FileSystem) -> File:
    return File(relative, shown, info.size, info.mtime_ns or 0, filesystem, info.path)


def _below(filesystem: fs.FileSystem, folder: str, path: str, *, recursive: bool = True) -> Iterator[File]:
    from pyarrow import fs

    infos = filesystem.get_file_info(fs.FileSelector(folder, recursive=recursive, allow_not_found=True))
    files = [info for info in infos if info.type == fs.FileType.File]
    for info in sorted(files, key=lambda info: info.path):
        relative = info.path[len(folder) :].lstrip("/")
        if not any(part.startswith((".", "_")) for part in relative.split("/")):
            yield _file(info, relative, f"{path.rstrip('/')}/{relative}", filesystem)


def _globbed(filesystem: fs.FileSystem, pattern: str, path: str) -> list[File]:
    """Files that match, ``*`` within one part of the path only, ``**`` over several."""
    fixed = _GLOB.split(pattern, maxsplit=1)[0].rpartition("/")[0]
    rest = pattern[len(fixed) + 1 :]
    given = _GLOB.split(path, maxsplit=1)[0].rpartition("/")
    shown = given[0] if given[0] or not given[1] else "/"
    # What no pattern reaches is not looked through: it may be a whole home folder.
    below = _below(filesystem, fixed or "/", shown or ".", recursive="/" in rest or "**" in rest)
    return [file for file in below if _matches(file.inner.split("/"), pattern.split("/"))]


def _matches(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _nothing(path: str, inner: str) -> str:
    folder = Path(inner).parent
    if path.startswith("s3://") or not folder.is_dir():
        return "no such file (as seen from the machine that trains)"
    names = [p.name for p in folder.iterdir()]
    if len(names) > _MOST_LISTED:
        close = difflib.get_close_matches(Path(inner).name, names, n=1)
        return f"no such file; did you mean {close[0]}?" if close else f"no such file among the {len(names)} there"
    return f"no such file; {near(Path(inner).name, names)}"


def fingerprint(paths: list[str]) -> str:
    """Returns a text that changes when the bytes behind ``paths`` change; part of a trial's identity.

    Up to 256 MiB of local files are hashed; of larger and remote ones, size and modification time are
    taken, which costs no read.

    Raises:
        DataError: When there is no such file.
    """
    from pyarrow import fs

    files = [file for path in paths for file in find(path)]
    local = all(isinstance(file.filesystem, fs.LocalFileSystem) for file in files)
    whole = local and sum(file.size for file in files) <= _HASHED_BYTES
    if len(files) == 1:
        one = files[0]
        return f"sha256:{_sha256(one)}" if whole else f"size:{one.size},modified:{one.modified}"
    total = hashlib.sha256()
    for file in files:
        mark = _sha256(file) if whole else f"{file.size},{file.modified}"
        total.update(f"{file.relative}\0{mark}\n".encode())
    return f"{'sha256' if whole else 'sizes'}-of-{len(files)}:{total.hexdigest()}"


def _sha256(file: File) -> str:
    """Hashes a local file piece by piece: it may be larger than what else would fit into memory."""
    try:
        with Path(file.inner).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"data.path: {file.shown}: {error}") from error
