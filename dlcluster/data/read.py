"""Reads CSV and Parquet files into Arrow tables."""

from __future__ import annotations

import csv as python_csv
from collections import Counter
from typing import TYPE_CHECKING, Any

from dlcluster.data.kinds import Format, format_of
from dlcluster.data.locate import File, find
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""What stands for a missing value in a CSV."""
_THREADS_ABOVE = 4 * 2**20
_HEAD_BYTES = 2**16


def read_table(path: str, format_: Format | None = None, *, header: bool = True) -> pa.Table:
    """Reads a CSV or Parquet file, or all of a folder or glob one after the other.

    Args:
        path: As `dlcluster.data.locate.find` takes it.
        format_: ``csv`` or ``parquet``, of files whose names do not say it; None where all do.
        header: Whether a CSV's first line names its columns; else they are ``column_1``, ``column_2``, ...

    Raises:
        DataError: When it is not there, not readable, or files do not have the same columns.
    """
    import pyarrow as pa

    files = find(path)
    tables = [_read(file, header, format_) for file in files]
    first = tables[0]
    for file, table in zip(files, tables, strict=True):
        if table.column_names != first.column_names:
            raise DataError(
                f"data.path: {file.shown} has the columns {', '.join(table.column_names)}, but {files[0].shown} has "
                f"{', '.join(first.column_names)}",
                hint="Files read as one need the same columns; a pattern picks some: data.path: folder/*.csv",
            )
    if len(tables) == 1:
        return first
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(_kinds_words(files, tables)) from error


def _kinds_words(files: list[File], tables: list[pa.Table]) -> str:
    """Which column is of another kind in which file."""
    import pyarrow as pa

    for file, table in zip(files, tables, strict=True):
        for ours, theirs in zip(tables[0].schema, table.schema, strict=True):
            try:
                pa.unify_schemas([pa.schema([ours]), pa.schema([theirs])], promote_options="permissive")
            except pa.ArrowException:
                return (
                    f"data.path: column {ours.name!r} holds {ours.type} in {files[0].shown}, but {theirs.type} in "
                    f"{file.shown}"
                )
    return f"data.path: {files[0].shown} and the files after it do not hold the same kinds of values"


def _read(file: File, header: bool, otherwise: Format | None) -> pa.Table:
    import pyarrow as pa

    named = format_of(file.name)
    format_ = named if named in ("csv", "parquet") else otherwise
    if format_ not in ("csv", "parquet"):
        raise DataError(
            f"data.path: {file.shown}: cannot tell what this file is by its name",
            hint="Name it .csv or .parquet, or say data.format.",
        )
    try:
        table = _read_csv(file, header) if format_ == "csv" else _read_parquet(file)
        twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    except UnicodeDecodeError as error:
        raise _not_utf8(file, "the line with the columns' names", error.object) from error
    except (pa.ArrowException, OSError, EOFError) as error:
        words = str(error).partition(". Detail:")[0].rpartition("'<Buffer>': ")[2]
        raise DataError(f"data.path: {file.shown}: cannot be read as {format_}: {words}") from error
    if twice:
        raise DataError(
            f"data.path: {file.shown}: several columns are called {twice[0]!r}",
            hint="Give each column a name of its own"
            + (", or write data.params.header: false if the first line is data." if format_ == "csv" else "."),
        )
    return table


def _read_parquet(file: File) -> pa.Table:
    from pyarrow import parquet

    # Arrow's thread pools may abort a process that ends right after it read something small.
    threads = file.size > _THREADS_ABOVE
    with file.filesystem.open_input_file(file.inner) as stream:
        return parquet.read_table(stream, use_threads=threads, pre_buffer=threads)


def _read_csv(file: File, header: bool) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    def read(*, threads: bool) -> pa.Table:
        with file.filesystem.open_input_stream(file.inner) as stream:  # undoes .gz
            return csv.read_csv(
                stream,
                read_options=csv.ReadOptions(autogenerate_column_names=not header, use_threads=threads),
                # With one column, an empty line is a row whose value is missing.
                parse_options=csv.ParseOptions(ignore_empty_lines=not alone),
                convert_options=csv.ConvertOptions(null_values=list(MISSING)),
            )

    with file.filesystem.open_input_stream(file.inner) as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, as spreadsheets write it
        raise _not_utf8(file, "the file", head)
    alone = _has_one_column(head)
    try:
        table = read(threads=True)
    except pa.ArrowInvalid as error:
        if "CSV parse error" in str(error):
            read(threads=False)  # says in which line
        raise
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_binary(column.type):  # what Arrow makes of text that is not UTF-8
            row, value = next((i, value) for i, value in enumerate(column.to_pylist()) if not _is_utf8(value))
            raise _not_utf8(file, f"column {name!r} at row {row + 1}", value)
    if not header:
        table = table.rename_columns([f"column_{i + 1}" for i in range(table.num_columns)])
    return table


def _has_one_column(head: bytes) -> bool:
    line = next((line for line in head.decode("utf-8", "replace").splitlines() if line), "")
    return len(next(python_csv.reader([line]), [])) <= 1


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(file: File, where: str, value: Any) -> DataError:
    return DataError(
        f"data.path: {file.shown}: {where} is not valid UTF-8 ({bytes(value)[:40]!r})",
        hint="Save the file as UTF-8.",
    )
