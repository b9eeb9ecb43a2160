"""Lines of a CSV or a text, so many at a time, as tables: read as training reads the whole file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlcluster.data.kinds import Format
from dlcluster.data.locate import File
from dlcluster.data.read import MISSING
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

PIECE_BYTES = 64 * 2**20
CHUNK_BYTES = 8 * 2**20
_PATIENCE_BYTES = 2**20


@dataclass(frozen=True)
class How:
    """How files are read.

    Attributes:
        format: What they are.
        header: Whether a CSV's first line names its columns.
        encoding: Of text.
        text: What the column with a text file's lines is called.
        piece_bytes: About how much of a file is one piece.
        chunk_bytes: About how much of a CSV or a text is in memory at once.
    """

    format: Format
    header: bool = True
    encoding: str = "utf-8"
    text: str = "text"
    piece_bytes: int = PIECE_BYTES
    chunk_bytes: int = CHUNK_BYTES


def unreadable(file: File, how: How, error: Exception) -> DataError:
    """Says in words why a file cannot be read.

    Args:
        file: Which.
        how: How it is read.
        error: What was raised.
    """
    import pyarrow as pa

    if isinstance(error, UnicodeDecodeError):
        name = how.encoding if how.format == "text" else "UTF-8"
        return DataError(f"predict.data: {file.shown} is not valid {name}", hint="Save the file as UTF-8.")
    words = str(error).partition(". Detail:")[0]
    if isinstance(error, pa.ArrowException):
        words = words.rpartition("'<Buffer>': ")[2]
    return DataError(f"predict.data: {file.shown}: cannot be read as {how.format}: {words}")


def can_begin_anywhere(file: File) -> bool:
    """Tells whether a file can be read from its middle on."""
    return not file.name.endswith(".gz")


def chunks(
    file: File, how: How, start: int, end: int | None, schema: pa.Schema | None
) -> Iterator[tuple[int, pa.Table]]:
    """Reads the lines from one byte to another as tables, each with the place of the byte after it.

    Args:
        file: Which.
        how: How it is read.
        start: The first byte.
        end: The byte after the last; None for the file's end.
        schema: Of its columns; None to find out.

    Raises:
        DataError: When they cannot be read.
    """
    import pyarrow as pa

    first_row, names = 0, None if schema is None else schema.names
    for place, lines in _lines(file, how, start, end):
        begins = place == len(lines)
        if how.format == "text":
            table = pa.table({how.text: pa.array(_decoded(lines, how.encoding), pa.string())})
        else:
            try:
                table = _parsed(lines, how, names, schema, begins=begins)
            except pa.ArrowException as error:
                note = f" (rows counted from row {first_row + 1:,} on)" if first_row else ""
                raise DataError(f"{unreadable(file, how, error).message}{note}") from error
            _refuse_binary(file, table, first_row)
        names = names or table.column_names
        first_row += table.num_rows
        yield place, table


def _lines(file: File, how: How, start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
    """Reads whole lines, so many bytes at a time, each with the place of the byte after them."""
    seeks = can_begin_anywhere(file)
    whole = how.format == "text" and not _one_byte_lines(how.encoding)
    opened = file.filesystem.open_input_file if seeks else file.filesystem.open_input_stream  # which undoes .gz
    with opened(file.inner) as stream:
        if start:
            stream.seek(start)
        place, rest, last = start, b"", False
        while not last:
            left = None if end is None else end - place - len(rest)
            data = stream.read(how.chunk_bytes if left is None else min(how.chunk_bytes, left)) if left != 0 else b""
            last = not data
            head, rest = (
                (rest + data, b"")
                if last
                else _cut(
                    rest + data,
                    quoted=how.format == "csv",
                    whole=whole,
                    patience=max(4 * how.chunk_bytes, _PATIENCE_BYTES),
                )
            )
            if not head:
                continue
            if place == 0 and how.format == "csv" and head.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"predict.data: {file.shown} is not valid UTF-8", hint="Save the file as UTF-8.")
            place += len(head)
            yield place, head


def _one_byte_lines(encoding: str) -> bool:
    return not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _cut(data: bytes, *, quoted: bool, whole: bool, patience: int) -> tuple[bytes, bytes]:
    """Cuts after the last line end that is not within quotes."""
    cut = 0 if whole else data.rfind(b"\n") + 1
    if not quoted:
        return data[:cut], data[cut:]
    at, odd = cut, data.count(b'"', 0, cut) % 2
    while odd and at:
        before = data.rfind(b"\n", 0, at - 1) + 1
        odd ^= data.count(b'"', before, at) % 2
        at = before
    if not at and len(data) > patience:  # no field is that long: a quote stands alone, as in 5" pipe
        at = cut
    return data[:at], data[at:]


def _parsed(lines: bytes, how: How, names: list[str] | None, schema: pa.Schema | None, *, begins: bool) -> pa.Table:
    """Reads lines of a CSV as `dlcluster.data.read` does a whole file.

    Args:
        lines: Some of them.
        how: How they are read.
        names: Of the columns; None where the first line is to tell.
        schema: Of the columns; None to find out.
        begins: Whether they are the first of the file.
    """
    import pyarrow as pa
    from pyarrow import csv

    def read(*, alone: bool) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(lines),
            read_options=csv.ReadOptions(
                column_names=None if begins and how.header else names,
                autogenerate_column_names=names is None and not how.header,
                use_threads=False,
            ),
            # With one column, an empty line is a row whose value is missing.
            parse_options=csv.ParseOptions(ignore_empty_lines=not alone),
            convert_options=csv.ConvertOptions(
                null_values=list(MISSING),
                column_types=None if schema is None else {field.name: field.type for field in schema},
            ),
        )

    table = read(alone=names is not None and len(names) == 1)
    if names is None and table.num_columns == 1:
        table = read(alone=True)
    if names is None and not how.header:
        table = table.rename_columns([f"column_{i + 1}" for i in range(table.num_columns)])
    return table


def _refuse_binary(file: File, table: pa.Table, first_row: int) -> None:
    """Refuses what Arrow makes of text that is not UTF-8."""
    import pyarrow as pa

    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_binary(column.type):
            raise DataError(
                f"predict.data: {file.shown}: column {name!r} is not valid UTF-8, from row {first_row + 1:,} on",
                hint="Save the file as UTF-8.",
            )


def _decoded(lines: bytes, encoding: str) -> list[str]:
    text = lines.decode(encoding).removeprefix("\ufeff").replace("\r\n", "\n")
    return text.removesuffix("\n").split("\n")
