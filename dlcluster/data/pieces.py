"""Data too large for memory, in pieces: what each file holds, which part of it a piece is, and its rows as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlcluster.data.kinds import Format, Kind, format_of
from dlcluster.data.lines import How, can_begin_anywhere, chunks, unreadable
from dlcluster.data.locate import File, find
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

PICTURES = 256
"""Picture files in a piece."""
_PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS: dict[Kind, tuple[Format, ...]] = {
    "table": ("csv", "parquet"),
    "series": ("csv", "parquet"),
    "texts": ("csv", "parquet", "text"),
    "language": ("csv", "parquet", "text"),
    "images": ("images", "parquet", "csv"),
}


@dataclass(frozen=True)
class Piece:
    """A part of the data that is read by one process; pieces in their order hold the rows in theirs.

    Attributes:
        number: Its place among all pieces, from 0.
        files: Picture files; of other formats the one file it lies in.
        format: What the files are.
        start: Of a CSV or a text: its first byte. Of Parquet: its first row group.
        end: The byte, or the row group, after its last; None for all that is there.
        first_row: How many rows of the file come before it.
    """

    number: int
    files: tuple[File, ...]
    format: Format
    start: int = 0
    end: int | None = None
    first_row: int = 0

    @property
    def shown(self) -> str:
        """Where it lies, for messages."""
        return self.files[0].shown


@dataclass(frozen=True)
class Scan:
    """What was found out about one file before its rows are read.

    Attributes:
        file: Which.
        schema: Of its columns; of pictures there is nothing to be found out.
        rows: How many it has.
        pieces: Start, end and first row of each of its pieces.
    """

    file: File
    schema: pa.Schema
    rows: int
    pieces: tuple[tuple[int, int | None, int], ...]


def files_of(path: str, format_: Format | None, kind: Kind) -> tuple[list[File], Format]:
    """Finds the files to predict over and tells what they are.

    Args:
        path: As `dlcluster.data.locate.find` takes it.
        format_: What the job says they are, or None.
        kind: Of the data that the model was trained on.

    Raises:
        DataError: When there are none, their names do not tell, or a model of this kind cannot read them.
    """
    try:
        files = find(path)
    except DataError as error:
        words = error.message.replace("data.path", "predict.data", 1).replace(
            "machine that trains", "machine it runs on"
        )
        raise DataError(words, hint=error.hint) from error
    if format_ is None:
        found = {file.name: _named(file.name) for file in files}
        formats = dict.fromkeys(found.values())
        if None in formats or len(formats) > 1:
            strange = next(name for name, each in found.items() if each != next(iter(formats)) or each is None)
            raise DataError(
                f"predict.data: {path}: the files' names do not say what all of them are (such as {strange})",
                hint=f"Say it: --format {' | '.join(_FORMATS[kind])}.",
            )
        format_ = next(iter(formats))
    if format_ is None or format_ not in _FORMATS[kind]:
        raise DataError(
            f"predict.format: a model trained on {_KIND_WORDS[kind]} cannot read {format_}",
            hint=f"It reads: {', '.join(_FORMATS[kind])}.",
        )
    return files, format_


_KIND_WORDS: dict[Kind, str] = {
    "table": "tables",
    "series": "series",
    "texts": "texts",
    "language": "running text",
    "images": "pictures",
}


def _named(name: str) -> Format | None:
    return "images" if name.lower().endswith(_PICTURE_ENDINGS) else format_of(name)


def scan(file: File, how: How) -> Scan:
    """Looks through a file once: its columns with their types, and where it can be cut.

    The type of a CSV's column is known only when all of it was read: what is a whole number in the first million
    rows may have a point in the next. So a CSV is read twice, here and in `tables`.

    Raises:
        DataError: When it cannot be read.
    """
    if how.format == "images":
        return Scan(file, None, 1, ((0, None, 0),))
    try:
        if how.format == "parquet":
            return _scan_parquet(file, how)
        return _scan_lines(file, how)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise unreadable(file, how, error) from error


def _scan_parquet(file: File, how: How) -> Scan:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with file.filesystem.open_input_file(file.inner) as stream:
            opened = parquet.ParquetFile(stream)
            metadata, schema = opened.metadata, opened.schema_arrow
    except pa.ArrowException as error:
        raise unreadable(file, how, error) from error
    pieces: list[tuple[int, int | None, int]] = []
    start = size = first = row = 0
    for group in range(metadata.num_row_groups):
        size, row = size + metadata.row_group(group).total_byte_size, row + metadata.row_group(group).num_rows
        if size >= how.piece_bytes or group == metadata.num_row_groups - 1:
            pieces.append((start, group + 1, first))
            start, size, first = group + 1, 0, row
    return Scan(file, schema, row, tuple(pieces))


def _scan_lines(file: File, how: How) -> Scan:
    schema: pa.Schema | None = None
    pieces: list[tuple[int, int | None, int]] = []
    start = first = row = 0
    for end, table in chunks(file, how, 0, None, None):
        schema = table.schema if schema is None else _unified([schema, table.schema])
        row += table.num_rows
        if end - start >= how.piece_bytes and can_begin_anywhere(file):
            pieces.append((start, end, first))
            start, first = end, row
    if row > first or not pieces:
        pieces.append((start, None, first))
    if schema is None:
        raise DataError(f"predict.data: {file.shown} is empty")
    return Scan(file, schema, row, tuple(pieces))


def plan(scans: Sequence[Scan], how: How) -> tuple[pa.Schema, list[Piece]]:
    """Puts together what was found in each file.

    Args:
        scans: Of all files, in order.
        how: How they are read.

    Returns:
        The columns of all rows, and the pieces in order.

    Raises:
        DataError: When files do not have the same columns, or hold different kinds of values in one.
    """
    import pyarrow as pa

    if how.format == "images":
        schema = pa.schema([("path", pa.string()), ("image", pa.binary())])
        files = [each.file for each in scans]
        groups = [tuple(files[start : start + PICTURES]) for start in range(0, len(files), PICTURES)]
        return schema, [Piece(number, group, how.format) for number, group in enumerate(groups)]
    first, schema = scans[0], scans[0].schema
    for each in scans:
        twice = [name for name, count in Counter(each.schema.names).items() if count > 1]
        if twice:
            raise DataError(
                f"predict.data: {each.file.shown}: several columns are called {twice[0]!r}",
                hint="Give each column a name of its own.",
            )
        if each.schema.names != first.schema.names:
            raise DataError(
                f"predict.data: {each.file.shown} has the columns {', '.join(each.schema.names)}, but "
                f"{first.file.shown} has {', '.join(first.schema.names)}",
                hint="Files read as one need the same columns; a pattern picks some, such as folder/*.csv",
            )
        schema = _unified([schema, each.schema], first.file, each.file)
    pieces = [(each.file, *place) for each in scans for place in each.pieces]
    return schema, [
        Piece(number, (file,), how.format, start, end, row) for number, (file, start, end, row) in enumerate(pieces)
    ]


def _unified(schemas: Sequence[pa.Schema], first: File | None = None, other: File | None = None) -> pa.Schema:
    """The types that hold what two parts of the data hold.

    Within CSV a column that is numbers here and words there is text, as it is when a whole file is read at once;
    Parquet says what it holds, so there a difference is a mistake.
    """
    import pyarrow as pa

    fields = []
    for ours, theirs in zip(*schemas, strict=True):
        try:
            fields.append(pa.unify_schemas([pa.schema([ours]), pa.schema([theirs])], promote_options="permissive")[0])
        except pa.ArrowException:
            if first is not None and other is not None and first.name.endswith((".parquet", ".pq")):
                raise DataError(
                    f"predict.data: column {ours.name!r} holds {ours.type} in {first.shown}, but {theirs.type} in "
                    f"{other.shown}"
                ) from None
            fields.append(pa.field(ours.name, pa.string()))
    return pa.schema(fields)


def tables(piece: Piece, how: How, schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Reads a piece, so many rows at a time.

    Args:
        piece: Which.
        how: How it is read.
        schema: What `plan` found.
        rows: Most rows of a table.

    Yields:
        Tables of ``schema``, at least one.

    Raises:
        DataError: When it cannot be read.
    """
    import pyarrow as pa

    found = False
    try:
        for table in _tables(piece, how, schema, rows):
            for start in range(0, table.num_rows, rows):
                found = True
                yield table.slice(start, rows)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise unreadable(piece.files[0], how, error) from error
    if not found:
        yield schema.empty_table()


def _tables(piece: Piece, how: How, schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    import pyarrow as pa
    from pyarrow import parquet

    if piece.format == "images":
        for start in range(0, len(piece.files), rows):
            files = piece.files[start : start + rows]
            columns = {"path": [file.shown for file in files], "image": [file.read() for file in files]}
            yield pa.table(columns, schema=schema)
    elif piece.format == "parquet":
        file = piece.files[0]
        with file.filesystem.open_input_file(file.inner) as stream:
            opened = parquet.ParquetFile(stream, pre_buffer=True)
            groups = range(piece.start, opened.num_row_groups if piece.end is None else piece.end)
            for batch in opened.iter_batches(batch_size=rows, row_groups=groups, use_threads=False):
                yield pa.Table.from_batches([batch]).cast(schema)
    else:
        for _, table in chunks(piece.files[0], how, piece.start, piece.end, schema):
            yield table
