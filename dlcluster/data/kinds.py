"""Which kind of data a job means: how it is read and which parameters it takes, decided without reading it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from dlcluster.data.params import (
    DataParams,
    ForecastParams,
    ImageParams,
    LanguageParams,
    TableParams,
    TextParams,
)

Kind: TypeAlias = Literal["series", "table", "images", "texts", "language"]
Format: TypeAlias = Literal["csv", "parquet", "npz", "idx", "images", "text"]

PARAMS: Mapping[Kind, type[DataParams]] = {
    "series": ForecastParams,
    "table": TableParams,
    "images": ImageParams,
    "texts": TextParams,
    "language": LanguageParams,
}
TASKS: Mapping[str, tuple[Kind, ...]] = {
    "forecast": ("series",),
    "classification": ("table", "images", "texts"),
    "regression": ("table", "images"),
    "language_model": ("language",),
    "generation": ("images",),
}
"""What a model can be trained for, and from which kinds of data."""
_ENDINGS: Mapping[str, Format] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npz": "npz",
    ".txt": "text",
}
_KINDS: Mapping[Format, Kind] = {
    "csv": "table",
    "parquet": "table",
    "npz": "images",
    "idx": "images",
    "images": "images",
    "text": "texts",
}


def format_of(path: str) -> Format | None:
    """Tells what files are by the end of their name; None where it says nothing, as for a folder."""
    name = PurePosixPath(path.partition("?")[0] if path.startswith(("http://", "https://")) else path)
    plain = name.with_suffix("") if name.suffix.lower() == ".gz" else name
    if plain.name.endswith(("-ubyte", ".idx")) or "-idx" in plain.name:
        return "idx"
    return _ENDINGS.get(plain.suffix.lower())


def kind_of(task: str, format_: Format | None) -> Kind | None:
    """Tells which kind of data a task takes from files of a format; None where the two do not fit.

    Args:
        task: As in `TASKS`.
        format_: Of the files; None when it could not be told.
    """
    kinds = TASKS[task]
    if len(kinds) == 1 and kinds[0] in ("series", "language"):
        fitting = ("csv", "parquet") if kinds[0] == "series" else ("text",)
        return kinds[0] if format_ is None or format_ in fitting else None
    if task == "regression" and format_ in ("idx", "images"):
        return None  # what is learnt of such pictures is a class; numbers come with arrays
    kind = None if format_ is None else _KINDS[format_]
    return kind if kind in kinds else None
