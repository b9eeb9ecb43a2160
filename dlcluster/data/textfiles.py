"""Text files as people write them: decoded, and taken as labelled texts by table, by line or by folder."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dlcluster.data.kinds import Format, format_of
from dlcluster.data.locate import File, find
from dlcluster.data.params import TextParams
from dlcluster.errors import DataError
from dlcluster.models.named import near


@dataclass
class Labelled:
    """Texts with their classes, as they were read.

    Attributes:
        texts: Without spaces around them.
        labels: Class of each text, as it is written.
        notes: Lines for the log: what was skipped.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Puts more texts behind these.

        Args:
            texts: So many texts.
            labels: Their classes.
        """
        self.texts += texts
        self.labels += labels


def read_text(file: File, encoding: str) -> str:
    r"""Reads a text file; ``.gz`` is unpacked, a byte order mark left out, line ends become ``\n``.

    Args:
        file: The file.
        encoding: How it writes its characters.

    Raises:
        DataError: With line and byte of what is not in that encoding.
    """
    data = file.read()
    if file.name.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"data.path: {file.shown}: cannot be unpacked: {error}") from error
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise DataError(
            f"data.path: {file.shown}: line {line}, byte {byte}: 0x{data[error.start]:02x} is not {encoding}",
            hint=f"Say how the file writes its characters: data.params.encoding: {_likely_encoding(data, encoding)}",
        ) from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_labelled(path: str, format_: Format | None, params: TextParams) -> Labelled:
    """Reads texts with their classes from tables, from a file for each class, or from a folder for each class.

    Args:
        path: As `dlcluster.data.locate.find` takes it.
        format_: What the files are; tables are also known by their names.
        params: Columns and encoding.

    Raises:
        DataError: When there are no texts, a text or a class is missing, or a file cannot be read.
    """
    files = find(path)
    if format_ in ("csv", "parquet") or all(format_of(file.name) in ("csv", "parquet") for file in files):
        return _read_tables(files, format_, params)
    beside = [file for file in files if "/" not in file.relative]
    if len(beside) == len(files):
        return _read_lines(files, params)
    if beside:
        raise DataError(
            f"data.path: {path}: {beside[0].name} lies beside the folders of the classes",
            hint=f"Move it elsewhere, or name what is meant: data.path: {path.rstrip('/')}/*/*",
        )
    return _read_folders(files, params)


def _read_lines(files: Sequence[File], params: TextParams) -> Labelled:
    """A file for each class, a text a line."""
    read = Labelled()
    for file, label in zip(files, _classes_of(files), strict=True):
        # Only at \n: str.splitlines would also cut at characters such as \x85, an ellipsis in what is called latin-1.
        lines = [line.strip() for line in read_text(file, params.encoding).removesuffix("\n").split("\n")]
        texts = [line for line in lines if line]
        if not texts:
            raise DataError(f"data.path: {file.shown}: class {label!r} has no texts, the file is empty")
        if len(texts) < len(lines):
            read.notes.append(
                f"{file.shown}: {len(lines) - len(texts):,} empty lines skipped (the first: {lines.index('') + 1})"
            )
        read.add(texts, [label] * len(texts))
    return read


def _read_folders(files: Sequence[File], params: TextParams) -> Labelled:
    """A folder for each class, a text a file."""
    read, empty = Labelled(), list[File]()
    for file in files:
        text = read_text(file, params.encoding).strip()
        if text:
            read.add([text], [file.relative.partition("/")[0]])
        else:
            empty.append(file)
    if empty:
        read.notes.append(f"{len(empty):,} empty files skipped (the first: {empty[0].shown})")
    for file in empty:
        label = file.relative.partition("/")[0]
        if label not in read.labels:
            raise DataError(f"data.path: class {label!r} has no texts, its files are empty (such as {file.shown})")
    return read


def _classes_of(files: Sequence[File]) -> list[str]:
    """A class for each file: its name without ending, or the ending where the names are all one."""
    paths = [PurePosixPath(file.name.removesuffix(".gz")) for file in files]
    stems = Counter(path.stem for path in paths)
    if len(stems) == len(paths):
        return [path.stem for path in paths]
    if len(stems) == 1:
        return [path.suffix.removeprefix(".") for path in paths]
    twice = next(stem for stem, count in stems.items() if count > 1)
    same = [file.name for file, path in zip(files, paths, strict=True) if path.stem == twice]
    raise DataError(
        f"data.path: {same[0]} and {same[1]} would both be class {twice!r}",
        hint="Name each file by its class, as in negative.txt and positive.txt.",
    )


def _read_tables(files: Sequence[File], format_: Format | None, params: TextParams) -> Labelled:
    """Tables with a column for the text and one for its class."""
    read = Labelled()
    for file in files:
        columns = _read_table(file, format_ if format_ in ("csv", "parquet") else format_of(file.name), params)
        texts, labels = ([value.strip() for value in column] for column in columns)
        for name, values in ((params.text, texts), (params.target, labels)):
            if "" in values:
                raise DataError(
                    f"data.path: {file.shown}: column {name!r} lacks {values.count('')} of its {len(values)} values "
                    f"(the first at row {values.index('') + 1})",
                    hint="Take these rows out of the file, or fill them in.",
                )
        read.add(texts, columns[1])
    if not read.texts:
        raise DataError(f"data.path: {files[0].shown}: has no rows")
    return read


def _read_table(file: File, format_: Format | None, params: TextParams) -> list[list[str]]:
    """Reads text and class, both as they are written; "" where one is missing."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    wanted = [params.text, params.target]
    if not params.header:  # pyarrow numbers them f0, f1, ...
        wanted = [f"f{int(name[7:]) - 1}" for name in wanted if re.fullmatch(r"column_[1-9][0-9]*", name)]
    try:
        if format_ == "parquet":
            table = parquet.read_table(io.BytesIO(file.read()))
        else:
            stream = io.BytesIO(read_text(file, params.encoding).encode())
            table = csv.read_csv(
                stream,
                read_options=csv.ReadOptions(autogenerate_column_names=not params.header),
                parse_options=csv.ParseOptions(newlines_in_values=True),  # a text may have several lines
                # As text: a class 01 is not 1, and a text that says null says so.
                convert_options=csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.string())),
            )
            if not params.header:
                table = table.rename_columns([f"column_{i + 1}" for i in range(table.num_columns)])
    except pa.ArrowException as error:
        raise DataError(f"data.path: {file.shown}: cannot be read as {format_ or 'csv'}: {error}") from error
    read = []
    for key, name in (("text", params.text), ("target", params.target)):
        if name not in table.column_names:
            raise DataError(f"data.params.{key}: {file.shown} has no column {name!r}; {near(name, table.column_names)}")
        if table.column_names.count(name) > 1:
            raise DataError(f"data.params.{key}: {file.shown} has several columns {name!r}; rename all but one")
        try:
            read.append(["" if value is None else value for value in table[name].cast(pa.string()).to_pylist()])
        except pa.ArrowException:
            kind = table.schema.field(name).type
            raise DataError(f"data.params.{key}: {file.shown}: column {name!r} holds {kind}, not text") from None
    return read


def _likely_encoding(data: bytes, wrong: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") and wrong != "utf-16":
        return "utf-16"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1 (of the west of Europe), cp1251 (Cyrillic), gb18030 (Chinese), ..."
    return "utf-8"
