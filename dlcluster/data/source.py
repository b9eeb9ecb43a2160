"""Where a job's data lies: by path as given, by name as the catalogue knows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from dlcluster.data.catalog import DATASETS, DataEntry
from dlcluster.data.kinds import Format, format_of
from dlcluster.data.locate import cache_folder, download, fingerprint
from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    from dlcluster.spec.data import Data

MIRROR = "DLCLUSTER_DATASETS_URL"
"""Environment variable with an address to fetch data sets by name from: below it, a folder for each."""


@dataclass(frozen=True)
class Source:
    """The files of a data set.

    Attributes:
        path: File, folder or glob that is dealt to the splits.
        format: What the files are.
        files: Splits with files of their own: ``validation`` and ``test``, or one of them.
    """

    path: str
    format: Format | None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        """All that is read."""
        return [self.path, *self.files.values()]


def source_of(data: Data) -> Source:
    """Finds where the data of a job lies; a data set by name is downloaded if need be.

    Raises:
        DataError: When there is no such data set, or it cannot be downloaded.
    """
    given = {name: path for name, path in data.split.files.model_dump().items() if path is not None}
    if data.path is not None:
        return Source(data.path, data.format or format_of(data.path), given)
    if data.name is None or data.name not in DATASETS:
        raise DataError(f"data.name: no data set {data.name!r}; {near(str(data.name), DATASETS)}")
    entry = DATASETS[data.name]
    return Source(fetch(entry), entry.format, given)


def fetch(entry: DataEntry) -> str:
    """Returns the path of a data set by name; what is downloaded is kept in the cache.

    Raises:
        DataError: When it cannot be downloaded, or is not what it should be.
    """
    if entry.file is not None:
        return str(entry.file)
    folder, mirror = cache_folder() / entry.name, os.environ.get(MIRROR, "").rstrip("/")
    for part in entry.downloads:
        name = PurePosixPath(urlparse(part.url).path).name
        url = f"{mirror}/{entry.name}/{name}" if mirror else part.url
        try:
            download(url, part.sha256, folder / name)
        except DataError as error:
            raise DataError(
                f"data.name: {entry.name}: {error.message}",
                hint=f"Offline, give a copy of your own (data.path: /folder/with/the/files, data.format: "
                f"{entry.format}), or set {MIRROR} to an address that has {entry.name}/{name}.",
            ) from error
    # By their ending: what another process is still downloading beside them has none.
    return f"{folder}/*{PurePosixPath(name).suffix}"


def source_fingerprint(source: Source) -> str:
    """Returns a text that changes when the data does; part of a trial's identity."""
    return fingerprint(source.paths)
