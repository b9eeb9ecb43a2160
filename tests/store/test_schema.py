from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dlcluster.store.schema import (
    COLUMNS,
    TABLES,
    check_row,
    concat,
    read_parquet,
    rows_to_table,
    write_parquet,
)

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def test_columns_have_their_declared_types() -> None:
    kinds = {
        field.name: str(field.type)
        for field in TABLES["epochs"]
        if field.name in ("run_id", "fence", "seq", "train_loss", "metrics", "reported_at")
    }
    assert kinds == {
        "run_id": "string",
        "fence": "int32",
        "seq": "int64",
        "train_loss": "double",
        "metrics": "map<string, double>",
        "reported_at": "timestamp[us, tz=UTC]",
    }
    assert list(TABLES) == list(COLUMNS)
    assert {schema.metadata[b"dlcluster.version"] for schema in TABLES.values()} == {b"1"}


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_every_table_survives_parquet(name: str) -> None:
    values: dict[str, object] = {"text": "a", "time": AT, "i32": 1, "i64": 2**40, "f64": 0.1, "bool": True}
    values |= {"texts": {"k": "v"}, "numbers": {"k": 0.5}}
    rows = [{column: values[kind] for column, kind in COLUMNS[name].items()}, {}]
    table = rows_to_table(name, rows)
    back = read_parquet(write_parquet(table))
    assert back.equals(table)
    assert back.schema.equals(TABLES[name])
    assert back.schema.metadata == TABLES[name].metadata


def test_floats_are_split_by_byte() -> None:
    table = rows_to_table("epochs", [{"train_loss": float(n), "metrics": {"mae": 1.0}} for n in range(5)])
    group = pq.ParquetFile(pa.BufferReader(write_parquet(table))).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    for name in ("train_loss", "metrics.key_value.value"):
        assert "BYTE_STREAM_SPLIT" in columns[name].encodings
        assert not any("DICTIONARY" in encoding for encoding in columns[name].encodings)
    assert any("DICTIONARY" in encoding for encoding in columns["trial_id"].encodings)
    assert {column.compression for column in columns.values()} == {"ZSTD"}


def test_unknown_columns_and_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="the table 'epochs' has no column loss; it has attempt, epoch"):
        rows_to_table("epochs", [{"loss": 1.0}])
    with pytest.raises(ValueError, match="there is no table 'epoch'; there are runs, trials"):
        rows_to_table("epoch", [])
    with pytest.raises(ValueError, match="there is no table 'epoch'"):
        check_row("epoch", {})
    check_row("log", {"stream": "driver", "text": ""})


@pytest.mark.parametrize("value", ["high", object(), [1]])
def test_values_that_do_not_fit_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="the column 'train_loss' of 'epochs' is double"):
        rows_to_table("epochs", [{"train_loss": value}])


def test_a_table_of_an_older_version_gains_columns() -> None:
    old = pa.table({"trial_id": ["t"], "epoch": pa.array([1], pa.int64()), "gone": [1]})
    new = concat("epochs", [read_parquet(write_parquet(old)), rows_to_table("epochs", [{"trial_id": "u"}])])
    assert new.schema.equals(TABLES["epochs"])
    assert new.select(["trial_id", "epoch", "train_loss"]).to_pylist() == [
        {"trial_id": "t", "epoch": 1, "train_loss": None},
        {"trial_id": "u", "epoch": None, "train_loss": None},
    ]
