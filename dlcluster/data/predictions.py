"""The folder that predictions go to: empty at first, a Parquet file for each piece, `_SUCCESS` once it is whole."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

SUCCESS = "_SUCCESS"


@dataclass(frozen=True)
class OutFolder:
    """A folder, or a prefix in S3, that one run writes.

    A file is there whole or not at all, and called after its piece: a piece that is predicted twice, as after a
    failure, has one file. In the order of their names the files hold the rows in the order of the data.

    Attributes:
        uri: As people know it.
        run_id: Who writes; stands in the names of the files.
    """

    uri: str
    run_id: str

    def name(self, number: int) -> str:
        """The name of a piece's file."""
        return f"part-{number:06d}-{self.run_id}.parquet"

    def refuse_used(self) -> None:
        """Refuses a folder that holds what another wrote: nothing is overwritten, and nothing mixed.

        Raises:
            DataError: With the first file that is there.
        """
        from pyarrow import fs

        with self._reached() as (filesystem, folder):
            info = filesystem.get_file_info(folder)
            if info.type == fs.FileType.File:
                raise DataError(f"predict.out: {self.uri} is a file; name a folder")
            others = [name for name in self._names(filesystem, folder) if not self._is_ours(name)]
        if others:
            raise DataError(
                f"predict.out: {self.uri} already holds {others[0]}"
                + (f" and {len(others) - 1:,} more" if len(others) > 1 else ""),
                hint="Nothing is overwritten: name a folder that is not there yet, or empty it first.",
            )

    def clear(self) -> None:
        """Deletes what an earlier attempt of this run left; the data may have been cut otherwise then.

        Raises:
            DataError: When it cannot be written.
        """
        from pyarrow import fs

        with self._reached() as (filesystem, folder):
            if isinstance(filesystem, fs.LocalFileSystem):  # S3 has no folders, only empty objects called so
                filesystem.create_dir(folder, recursive=True)
            for name in self._names(filesystem, folder):
                if self._is_ours(name):
                    filesystem.delete_file(f"{folder}/{name}")

    @contextlib.contextmanager
    def writing(self, number: int, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
        """Opens a piece's file.

        Args:
            number: Of the piece.
            schema: Of its rows.

        Yields:
            What writes a table.

        Raises:
            DataError: When it cannot be written.
        """
        import pyarrow as pa
        from pyarrow import fs, parquet

        with self._reached() as (filesystem, folder):
            final = f"{folder}/{self.name(number)}"
            # An object in S3 is there once it is whole; a file is there at once, so it gets its name at the end.
            local = isinstance(filesystem, fs.LocalFileSystem)
            path = f"{folder}/.{self.name(number)}.{secrets.token_hex(4)}" if local else final
            stream = filesystem.open_output_stream(path)
            # Floats hardly ever repeat, and to find that out costs as much as to write them.
            repeating = [field.name for field in schema if not pa.types.is_floating(field.type)]
            writer = parquet.ParquetWriter(stream, schema, compression="zstd", use_dictionary=repeating)

        def write_one(table: pa.Table) -> None:
            with self._reached():
                writer.write_table(table)

        try:
            # The next rows are predicted while these are compressed.
            with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
                waiting: list[Future[None]] = []

                def write(table: pa.Table) -> None:
                    if waiting:
                        waiting.pop().result()
                    waiting.append(pool.submit(write_one, table))

                yield write
                for last in waiting:
                    last.result()
            with self._reached():
                writer.close()
                stream.close()
                if local:
                    filesystem.move(path, final)
        except BaseException:
            # Whatever is wrong with it by now, what is deleted next need not be whole.
            for undo in (writer.close, stream.close, lambda: filesystem.delete_file(path)):
                with contextlib.suppress(OSError, pa.ArrowException):
                    undo()
            raise

    def succeed(self) -> None:
        """Says that all is there, as Hadoop and Spark do.

        Raises:
            DataError: When it cannot be written.
        """
        with self._reached() as (filesystem, folder), filesystem.open_output_stream(f"{folder}/{SUCCESS}") as stream:
            stream.write(f"{self.run_id}\n".encode())

    def _is_ours(self, name: str) -> bool:
        return self.run_id in name

    def _names(self, filesystem: fs.FileSystem, folder: str) -> list[str]:
        from pyarrow import fs

        infos = filesystem.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
        return sorted(info.path[len(folder) + 1 :] for info in infos if info.type == fs.FileType.File)

    @contextlib.contextmanager
    def _reached(self) -> Iterator[tuple[fs.FileSystem, str]]:
        import pyarrow as pa

        try:
            yield _located(self.uri)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"predict.out: {self.uri} cannot be used: {error}") from error


def _located(uri: str) -> tuple[fs.FileSystem, str]:
    from pyarrow import fs

    if uri.startswith("s3://"):
        import boto3

        from dlcluster.store.s3 import Connection

        session, parsed = boto3.Session(), urlparse(uri)
        inner = f"{parsed.netloc}{parsed.path}".rstrip("/")
        return Connection.from_environment(session).filesystem(session), inner
    if "://" in uri and not uri.startswith("file://"):
        raise DataError(f"predict.out: {uri}: predictions go to a folder or to s3://bucket/prefix")
    local = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
    return fs.LocalFileSystem(), str(Path(local).expanduser().absolute())
