"""Where a job's data lies: by path as given, by name as the catalogue knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlcluster.data.catalog import DATASETS
from dlcluster.data.kinds import Format, format_of
from dlcluster.data.locate import fingerprint
from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    from dlcluster.spec.data import Data


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
    if data.name not in DATASETS:
        raise DataError(f"data.name: no data set {data.name!r}; {near(str(data.name), DATASETS)}")
    entry = DATASETS[data.name]
    return Source(str(entry.file), entry.format, given)


def source_fingerprint(source: Source) -> str:
    """Returns a text that changes when the data does; part of a trial's identity."""
    return fingerprint(source.paths)
