"""What travels with a job: the user's folder and the running dlcluster, as one deterministic zip.

The files are stored, not deflated: deflate's output differs between builds of zlib, and the package's
sha256 is what says "the same code" for months and across machines.
"""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import dlcluster
from dlcluster.cluster.folder import Contents, FolderWalk
from dlcluster.errors import UsageError

MAX_BYTES = 100 << 20  # what a Ray dashboard takes in one upload
_TIME = (1980, 1, 1, 0, 0, 0)
_OWN = "dlcluster"


@dataclass(frozen=True)
class Package:
    """A zip ready to be put into the store and sent to a cluster.

    Attributes:
        data: The zip.
        sha256: Its hash, in hex; the same files give the same hash on any machine.
        files: How many files it holds.
        warnings: What was left out that the user may miss, one sentence each.
    """

    data: bytes
    sha256: str
    files: int
    warnings: list[str]

    @property
    def name(self) -> str:
        """Its name in a cluster's package store; ``gcs://<name>`` is the working_dir."""
        return f"_ray_pkg_{self.sha256[:32]}.zip"


def build_package(working_dir: Path | None, *, exclude: Sequence[Path] = ()) -> Package:
    """Packs the user's folder and the running dlcluster into one zip.

    Left out: version control, virtual environments, caches; what ``.gitignore`` and ``.rayignore`` name
    (nested ones too, and those above the folder up to its git repository; ``.rayignore`` is read after
    ``.gitignore``, so its ``!data/small.csv`` brings a file back); with a warning, what looks like a secret,
    links that lead out of the folder, and a ``dlcluster/`` folder that is not the running package.

    Args:
        working_dir: The user's folder; None packs dlcluster alone.
        exclude: Files or folders that must not travel, such as a store inside the folder.

    Returns:
        The package; the same for the same files wherever it is built.

    Raises:
        UsageError: The folder is missing, holds more than 100 MiB or more than 200,000 entries.
    """
    own = Path(dlcluster.__file__).resolve().parent
    contents = Contents()
    if working_dir is not None:
        root = working_dir.expanduser().resolve()
        if not root.is_dir():
            raise UsageError(
                f"working_dir {str(working_dir)!r} is {'not a folder' if root.exists() else 'missing'}.",
                hint="Name the folder that your own model and data modules are in.",
            )
        outside = [path.expanduser().resolve() for path in exclude]
        contents = FolderWalk(root, outside, skip=_OWN).collect()
        if (root / _OWN).is_dir() and (root / _OWN).resolve() != own:
            contents.left_out[f"in favour of the running dlcluster {dlcluster.__version__}"] = [f"{_OWN}/"]
        _check_size(root, contents, sum(size for _, size in contents.files.values()))
    for name, path in _own_files(own):
        contents.files[name] = (path, path.stat().st_size)
    data = _zip(contents)
    _check_size(working_dir or own, contents, len(data))
    return Package(data, hashlib.sha256(data).hexdigest(), len(contents.files), contents.warnings())


def unpack(data: bytes, folder: Path) -> None:
    """Unpacks a package into a folder, refusing any entry that would leave it.

    Args:
        data: A zip made by ``build_package``.
        folder: Where to; made if missing.

    Raises:
        UsageError: It is no zip, or one of its entries is a link or leads out of the folder.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise UsageError(f"The code package is not a zip: {error}.") from error
    with archive:
        for entry in archive.infolist():
            path = PurePosixPath(entry.filename)
            mode = entry.external_attr >> 16
            unsafe = path.is_absolute() or ".." in path.parts or "\\" in entry.filename
            if unsafe or not path.parts or stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UsageError(f"The code package holds {entry.filename!r}, which would leave its folder.")
        for entry in archive.infolist():
            target = folder / entry.filename
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))
            target.chmod(0o755 if (entry.external_attr >> 16) & 0o100 else 0o644)


def _own_files(own: Path) -> Iterator[tuple[str, Path]]:
    """The running package's files, under ``dlcluster/``."""
    for path in own.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield f"{_OWN}/{path.relative_to(own).as_posix()}", path


def _zip(contents: Contents) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, (path, _) in sorted(contents.files.items()):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = 3  # Unix, whatever we run on: the modes below count
            try:
                executable, content = path.stat().st_mode & 0o100, path.read_bytes()
            except OSError as error:
                raise UsageError(f"{path} could not be packed: {error.strerror}.") from error
            info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def _check_size(root: Path, contents: Contents, total: int) -> None:
    if total <= MAX_BYTES:
        return
    biggest = sorted(contents.files.items(), key=lambda item: (-item[1][1], item[0]))[:5]
    listed = "\n".join(f"  {_size(size):>9}  {name}" for name, (_, size) in biggest)
    raise UsageError(
        f"{root} holds {_size(total)}, more than the {_size(MAX_BYTES)} that can travel with a job. "
        f"The biggest files:\n{listed}",
        hint="Name data in .rayignore and read it by data.path (s3://... or a folder the cluster sees).",
    )


def _size(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"
