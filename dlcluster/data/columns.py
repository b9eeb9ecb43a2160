"""A table's columns as numbers or as names, missing values known, bad ones refused with their row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dlcluster.data.read import MISSING
from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    import pyarrow as pa

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""One column of numbers, ``(rows,)``, NaN where one is missing."""

_NO_NUMBER = (
    "Correct it; leave it empty if it stands for a missing value; or list the column in data.params.categorical if its "
    "values are names."
)
_IS_HEADER = "Does its first line name the columns? Then leave out data.params.header: false."
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class Names:
    """One column of names.

    Attributes:
        codes: Which of ``names`` each row has, ``(rows,)``; -1 where it is missing.
        names: Each once, in any order.
    """

    codes: np.ndarray[Any, np.dtype[np.int64]]
    names: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """How many rows have each name; only names that a row has."""
        found = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names)).tolist()
        return {name: count for name, count in zip(self.names, found, strict=True) if count}

    def coded(self, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The place of each row's name in ``names``; -1 where it is not there, or is missing."""
        places = {name: place for place, name in enumerate(names)}
        table = np.array([places.get(name, -1) for name in self.names] + [-1], dtype=np.int64)
        coded: np.ndarray[Any, np.dtype[np.int64]] = table[self.codes]
        return coded


Column: TypeAlias = Numbers | Names


def rows_of(column: Column, index: np.ndarray[Any, Any]) -> Column:
    """Returns some rows of a column."""
    return Names(column.codes[index], column.names) if isinstance(column, Names) else column[index]


def missing_in(column: Column) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Returns where a column lacks its value, ``(rows,)``."""
    return column.codes < 0 if isinstance(column, Names) else np.isnan(column)


def joined(columns: Sequence[Column]) -> Column:
    """Puts columns of one kind below each other."""
    if not isinstance(columns[0], Names):
        return np.concatenate([column for column in columns if not isinstance(column, Names)])
    named = [column for column in columns if isinstance(column, Names)]
    names = tuple(dict.fromkeys(name for column in named for name in column.names))
    return Names(np.concatenate([column.coded(names) for column in named]), names)


def in_order(names: Sequence[str]) -> list[str]:
    """Sorts names: as numbers where all are numbers, else as text."""
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def taken(table: pa.Table, name: str, where: str, key: str) -> pa.ChunkedArray:
    """Returns a column by its name.

    Args:
        table: What was read.
        name: Of the column.
        where: Beginning of the message, such as ``data.path: iris.csv``.
        key: What names the column, such as ``data.params.target``.

    Raises:
        DataError: When there is none.
    """
    names = table.column_names
    if name in names:
        return table[name]
    bare = sum(_is_number(known) for known in names) >= len(names) / 2
    raise DataError(
        f"{where}: there is no column {name!r} ({key}); {near(name, names)}",
        hint="Is its first line data already? Then write data.params.header: false (column_1, column_2, ...)."
        if bare
        else None,
    )


def holds_text(column: pa.ChunkedArray) -> bool:
    """Tells whether a column holds text."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_mostly_numbers(column: pa.ChunkedArray) -> bool:
    """Tells whether at least half of a column of text reads as numbers, but not all of it."""
    import pyarrow.compute as pc

    known = pc.drop_null(_text(column))
    numbers = pc.sum(pc.match_substring_regex(known, _NUMBER)).as_py() or 0
    return bool(len(known) / 2 <= numbers < len(known))


def as_numbers(column: pa.ChunkedArray, name: str, where: str, hint: str | None = None) -> Numbers:
    """Reads a column as numbers; false is 0 and true is 1.

    Args:
        column: Of any kind; text is read where it is written numbers.
        name: Of the column, for messages.
        where: Beginning of the message.
        hint: What to do about it; None for what an input column wants.

    Raises:
        DataError: When it holds anything else, with the first bad value and its row; or a value is infinite.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if holds_text(column):
        column = _text(column)
        bad = pc.index(pc.invert(pc.match_substring_regex(column, _NUMBER)), True).as_py()
        if bad >= 0:
            raise DataError(
                f"{where}: column {name!r} should hold numbers, but row {bad + 1} has {column[bad].as_py()!r}",
                hint=hint or (_IS_HEADER if bad == 0 and name.startswith("column_") else _NO_NUMBER),
            )
        column = pc.utf8_trim_whitespace(column)
    elif pa.types.is_temporal(kind):
        raise DataError(
            f"{where}: column {name!r} should hold numbers, but holds dates or times ({kind})",
            hint=hint or "Leave it out of data.params.columns, or make numbers of it first, such as year and month.",
        )
    elif not _is_numeric(kind):
        raise DataError(
            f"{where}: column {name!r} should hold numbers, but holds {kind}",
            hint=hint or "Leave it out of data.params.columns.",
        )
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    numbers = floats(column)
    if np.isinf(numbers).any():
        raise DataError(f"{where}: column {name!r} is infinite at row {int(np.isinf(numbers).argmax()) + 1}")
    return numbers


def floats(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Copies a column of numbers, ``(rows,)`` with NaN where it is empty.

    Arrow's own ``to_numpy`` loads pandas wherever it is installed, half a second of every worker's start.

    Args:
        column: Of numbers.
    """
    import pyarrow as pa

    parts = [np.empty(0)]
    for chunk in column.cast(pa.float64(), safe=False).chunks:
        if not len(chunk):
            continue
        span = slice(chunk.offset, chunk.offset + len(chunk))
        there, data = chunk.buffers()
        values = np.frombuffer(data, np.float64)[span].copy()
        if chunk.null_count:
            bits = np.unpackbits(np.frombuffer(there, np.uint8), bitorder="little")
            values[bits[span] == 0] = np.nan
        parts.append(values)
    return np.concatenate(parts)


def as_names(column: pa.ChunkedArray, name: str, where: str) -> Names:
    """Reads a column as names; a whole number is written without a point.

    Args:
        column: Of any kind.
        name: Of the column, for messages.
        where: Beginning of the message.

    Raises:
        DataError: When it holds lists or the like.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if holds_text(column):
        column = _text(column)
    elif pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise DataError(
            f"{where}: column {name!r} should hold names, but holds {column.type}",
            hint="Leave it out of data.params.columns.",
        )
    encoded = pc.dictionary_encode(column).combine_chunks() if column.num_chunks else pa.array([]).dictionary_encode()
    written = [_written(value) for value in encoded.dictionary.to_pylist()]
    places: dict[str, int] = {}
    table = [-1 if value is None else places.setdefault(value, len(places)) for value in written]
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return Names(np.array([*table, -1], dtype=np.int64)[codes], tuple(places))


def _is_numeric(kind: pa.DataType) -> bool:
    from pyarrow import types

    kinds = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(is_kind(kind) for is_kind in kinds)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text with null where it stands for a missing value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.cast(pa.string())
    empty = pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array(MISSING))
    return pc.if_else(empty, pa.scalar(None, pa.string()), column)


def _written(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if value is None or isinstance(value, str):
        return value
    if not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return str(int(value)) if value == int(value) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
