"""Reads CSV and Parquet files into Arrow tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcluster.data.kinds import Format, format_of
from dlcluster.data.locate import File, find
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(path: str, format_: Format | None = None, *, header: bool = True) -> pa.Table:
    """Reads a CSV or Parquet file, or all of a folder or glob one after the other.

    Args:
        path: As `dlcluster.data.locate.find` takes it.
        format_: ``csv`` or ``parquet``; None to tell by the files' names.
        header: Whether a CSV's first line names its columns; else they are ``column_1``, ``column_2``, ...

    Raises:
        DataError: When it is not there, not readable, or files do not have the same columns.
    """
    import pyarrow as pa

    files = find(path)
    tables = [_read(file, format_ or format_of(file.name), header) for file in files]
    for file, table in zip(files, tables, strict=True):
        if table.column_names != tables[0].column_names:
            raise DataError(
                f"data.path: {file.shown} has the columns {', '.join(table.column_names)}, but {files[0].shown} has "
                f"{', '.join(tables[0].column_names)}"
            )
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")


def _read(file: File, format_: Format | None, header: bool) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    if format_ not in ("csv", "parquet"):
        raise DataError(
            f"data.path: {file.shown}: cannot tell what this file is by its name",
            hint="Name it .csv or .parquet, or say data.format.",
        )
    try:
        with file.filesystem.open_input_file(file.inner) as stream:
            if format_ == "parquet":
                return parquet.read_table(stream)
            convert = csv.ConvertOptions(null_values=["", "NA", "NaN", "nan", "null"])
            read = csv.ReadOptions(autogenerate_column_names=not header)
            table = csv.read_csv(stream, read_options=read, convert_options=convert)
            if table.num_columns == 1:
                stream.seek(0)  # with one column, an empty line is a row whose value is missing
                parse = csv.ParseOptions(ignore_empty_lines=False)
                table = csv.read_csv(stream, read_options=read, convert_options=convert, parse_options=parse)
            if not header:
                table = table.rename_columns([f"column_{i + 1}" for i in range(table.num_columns)])
            return table
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"data.path: {file.shown}: cannot be read as {format_}: {error}") from error
