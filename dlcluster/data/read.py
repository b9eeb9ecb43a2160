"""Reads files into Arrow tables, and says which bytes were read (the fingerprint)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

_HASHED_BYTES = 256 * 2**20
_FORMATS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}


def _locate(path: str) -> tuple[fs.FileSystem, str]:
    from pyarrow import fs

    if path.startswith("s3://"):
        import boto3

        from dlcluster.store.s3 import Connection

        session, parsed = boto3.Session(), urlparse(path)
        return Connection.from_environment(session).filesystem(session), f"{parsed.netloc}{parsed.path}"
    return fs.LocalFileSystem(), str(Path(path.removeprefix("file://")).expanduser().absolute())


def read_table(path: str) -> pa.Table:
    """Reads a CSV or Parquet file.

    Args:
        path: A local path or an ``s3://bucket/key``.

    Raises:
        DataError: When it is not there, not readable, or neither CSV nor Parquet.
    """
    import pyarrow as pa
    from pyarrow import csv, fs, parquet

    kind = _FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise DataError(
            f"data.path: {path}: cannot tell what this file is by its name", hint="Name it .csv or .parquet."
        )
    filesystem, inner = _locate(path)
    try:
        info = filesystem.get_file_info(inner)
        if info.type != fs.FileType.File:
            raise DataError(f"data.path: {path}: {_not_a_file(path, info.type == fs.FileType.Directory)}")
        with filesystem.open_input_file(inner) as file:
            if kind == "parquet":
                return parquet.read_table(file)
            convert = csv.ConvertOptions(null_values=["", "NA", "NaN", "nan", "null"])
            table = csv.read_csv(file, convert_options=convert)
            if table.num_columns > 1:
                return table
            file.seek(0)  # with one column, an empty line is a row whose value is missing
            return csv.read_csv(file, convert_options=convert, parse_options=csv.ParseOptions(ignore_empty_lines=False))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"data.path: {path}: cannot be read as {kind}: {error}") from error


def _not_a_file(path: str, folder: bool) -> str:
    if folder:
        return "this is a folder; name one file"
    parent = Path(path).parent
    if path.startswith("s3://") or not parent.is_dir():
        return "no such file (as seen from the machine that trains)"
    return f"no such file; {near(Path(path).name, (p.name for p in parent.iterdir() if p.is_file()))}"


def fingerprint(path: str) -> str:
    """Returns a text that changes when the bytes behind ``path`` change.

    It is part of a trial's identity. Files up to 256 MiB are hashed; of larger and remote ones, size and
    modification time are taken, which costs no read.

    Raises:
        DataError: When there is no such file.
    """
    from pyarrow import fs

    filesystem, inner = _locate(path)
    try:
        info = filesystem.get_file_info(inner)
    except OSError as error:
        raise DataError(f"data.path: {path}: {error}") from error
    if info.type != fs.FileType.File:
        raise DataError(f"data.path: {path}: {_not_a_file(path, info.type == fs.FileType.Directory)}")
    if isinstance(filesystem, fs.LocalFileSystem) and info.size <= _HASHED_BYTES:
        return "sha256:" + hashlib.sha256(Path(inner).read_bytes()).hexdigest()
    return f"size:{info.size},modified:{info.mtime_ns}"
