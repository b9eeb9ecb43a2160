"""Files read in pieces hold what they hold when they are read whole, wherever they are cut."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from dlcluster.data.kinds import Format
from dlcluster.data.lines import How
from dlcluster.data.pieces import Piece, files_of, plan, scan, tables
from dlcluster.data.read import read_table
from dlcluster.errors import DataError

CUTS = [(2**20, 2**20), (500, 2000), (97, 1), (13, 40)]
"""Bytes in memory at once, and bytes of a piece."""


def planned(path: Path, how: How) -> tuple[pa.Schema, list[Piece]]:
    files, _ = files_of(str(path), how.format, "texts")
    return plan([scan(file, how) for file in files], how)


def read(path: Path, how: How, rows: int = 7) -> pa.Table:
    """All pieces below each other; each knows how many rows come before it."""
    schema, pieces = planned(path, how)
    assert [piece.number for piece in pieces] == list(range(len(pieces)))
    found: list[pa.Table] = []
    before: dict[str, int] = {}
    for piece in pieces:
        assert piece.first_row == before.get(piece.shown, 0)
        parts = list(tables(piece, how, schema, rows))
        assert max(part.num_rows for part in parts) <= rows
        before[piece.shown] = piece.first_row + sum(part.num_rows for part in parts)
        found += parts
    return pa.concat_tables(found)


LINES = [
    f"{i},{'x' if i % 7 else QUOTED},{i if i < 200 else i + 0.5},{'' if i < 300 else i},2026-01-{i % 28 + 1:02d}"
    for QUOTED in ['"a ""quoted""\nline, and\nmore"']
    for i in range(400)
]
CSVS = {
    "plain": "a,b,c,d,e\n" + "\n".join(LINES) + "\n",
    "no newline at the end": "a,b,c,d,e\n" + "\n".join(LINES),
    "carriage returns": "a,b,c,d,e\r\n" + "\r\n".join(LINES) + "\r\n",
    "byte order mark": "\ufeffa,b,c,d,e\n" + "\n".join(LINES),
    "a quoted header": '"a\nb",b,c,d,e\n' + "\n".join(LINES),
    "empty lines": "\na,b,c,d,e\n\n" + "\n\n".join(LINES) + "\n\n",
    "one column": "a\n" + "\n".join("" if i % 5 == 0 else str(i) for i in range(400)) + "\n",
    "words after numbers": "a\n" + "\n".join(f"{i:04d}" if i < 300 else "x" for i in range(400)),
    "a header alone": "a,b\n",
}


@pytest.mark.parametrize(("chunk_bytes", "piece_bytes"), CUTS)
@pytest.mark.parametrize("name", CSVS)
def test_a_csv(name: str, chunk_bytes: int, piece_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CSVS[name].encode())
    whole = read_table(str(path))
    found = read(path, How("csv", chunk_bytes=chunk_bytes, piece_bytes=piece_bytes))
    assert found.schema == whole.schema
    assert found.to_pylist() == whole.to_pylist()
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(CSVS[name].encode()))
    assert read(path, How("csv", chunk_bytes=chunk_bytes, piece_bytes=piece_bytes)).equals(found)


@pytest.mark.parametrize(("chunk_bytes", "piece_bytes"), CUTS)
def test_a_csv_without_a_header(chunk_bytes: int, piece_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(LINES))
    found = read(path, How("csv", header=False, chunk_bytes=chunk_bytes, piece_bytes=piece_bytes))
    assert found.to_pylist() == read_table(str(path), header=False).to_pylist()


def test_a_quote_that_stands_alone_costs_no_more_than_a_few_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "".join(f"{'5'}{chr(34) * (i == 3)} pipe,{i}\n" for i in range(300_000)))
    how = How("csv", chunk_bytes=2**18, piece_bytes=2**20)
    assert read(path, how, 2**16).equals(read_table(str(path)).combine_chunks())
    assert len(planned(path, how)[1]) == 4


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
@pytest.mark.parametrize(("chunk_bytes", "piece_bytes"), CUTS)
def test_lines_of_a_text(chunk_bytes: int, piece_bytes: int, encoding: str, tmp_path: Path) -> None:
    lines = [f'größe "{i}' if i % 3 else "" for i in range(200)]
    (tmp_path / "a.txt").write_bytes("\r\n".join([*lines, "last"]).encode(encoding))
    how = How("text", encoding=encoding, text="said", chunk_bytes=chunk_bytes, piece_bytes=piece_bytes)
    assert read(tmp_path / "a.txt", how).to_pydict() == {"said": [*lines, "last"]}


@pytest.mark.parametrize("piece_bytes", [1, 300, 2**20])
def test_parquet_of_several_files(piece_bytes: int, tmp_path: Path) -> None:
    whole = pa.table({"a": range(100), "b": [str(i) for i in range(100)]})
    for part, (size, group) in enumerate([(40, 7), (0, 1), (60, 60)]):
        some = whole.slice(0 if part == 0 else 40, size)
        parquet.write_table(some, tmp_path / f"{part}.parquet", row_group_size=group)
    found = read(tmp_path, How("parquet", piece_bytes=piece_bytes))
    assert found.equals(whole)


def test_types_that_fit_together_do_and_others_are_named(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": pa.array([1], pa.int32())}), tmp_path / "1.parquet")
    parquet.write_table(pa.table({"a": [0.5]}), tmp_path / "2.parquet")
    assert read(tmp_path, How("parquet")).to_pydict() == {"a": [1.0, 0.5]}
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text("a\nx\n")
    assert read(tmp_path / "*.csv", How("csv")).to_pydict() == {"a": ["1", "x"]}


@pytest.mark.parametrize(
    ("format_", "content", "words"),
    [
        ("csv", b"", "is empty"),
        ("csv", b"a,a\n1,2\n", "several columns are called 'a'"),
        ("csv", "a\n1\n".encode("utf-16"), "is not valid UTF-8"),
        ("text", b"\xff\xfe\xfa", "is not valid utf-8"),
        ("parquet", b"x", "cannot be read as parquet: "),
    ],
)
def test_what_cannot_be_read(format_: Format, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a", How(format_))
    assert caught.value.message.startswith(f"predict.data: {tmp_path}/a")
    assert words in caught.value.message
