"""The tables: declared columns, and how rows become Parquet.

The declarations are plain text, so that a row's keys can be checked where pyarrow is not loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    TABLES: dict[str, pa.Schema]

VERSION = "1"
Row = tuple[str, dict[str, Any]]
LOG = "log"  # not a table: text that goes to log segments

# name or name:type; without a type it is a string, or a time where the name is `at` or ends in `_at`.
_EPOCHS = """run_id trial_id fence:i32 attempt:i32 seq:i64 epoch:i64 step:i64 train_loss:f64
        validation_loss:f64 learning_rate:f64 epoch_seconds:f64 num_samples:i64
        samples_per_second:f64 metrics:numbers reported_at"""
_DECLARED = {
    "runs": """run_id name kind state reason exit_code:i32 description labels:texts submitted_at started_at
        ended_at duration_seconds:f64 submitted_by num_trials_expected:i64 num_trials_succeeded:i64
        num_trials_failed:i64 num_trials_stopped:i64 num_attempts:i64 num_epochs:i64 metric mode
        best_trial_id best_value:f64 num_workers:i32 gpus_per_worker:f64 gpu_seconds:f64 spec
        spec_sha256 code_sha256 fence:i32 submission_id dlcluster_version""",
    "trials": """run_id trial_id fence:i32 seq:i64 setting_id seed:i64 fold:i32 state reason num_epochs:i64
        num_steps:i64 best_epoch:i64 best_value:f64 test_loss:f64 metrics:numbers baseline:numbers
        baseline_name num_parameters:i64 started_at ended_at duration_seconds:f64 gpu_seconds:f64 params
        model_uri""",
    "attempts": """run_id trial_id fence:i32 attempt:i32 seq:i64 start_epoch:i64 start_step:i64 started_at
        ended_at duration_seconds:f64 state cause message num_workers:i32 host pid:i64 device
        restored_from""",
    "epochs": _EPOCHS,
    "epochs_superseded": _EPOCHS,
    "system": """run_id trial_id fence:i32 attempt:i32 seq:i64 rank:i32 host at cpu_percent:f64
        memory_bytes:i64 gpu_percent:f64 gpu_memory_bytes:i64""",
    "artifacts": "run_id trial_id fence:i32 seq:i64 name kind uri bytes:i64 sha256 created_at",
    "environments": """run_id fence:i32 environment_id host python platform cpu num_cpus:i32 memory_bytes:i64
        gpu num_gpus:i32 gpu_driver cuda torch ray dlcluster git_commit git_dirty:bool""",
    "benchmarks": """run_id fence:i32 seq:i64 case metric value:f64 unit repeat:i32 warmup:bool environment_id
        git_commit at""",
}


def _typed(declared: str) -> dict[str, str]:
    columns: dict[str, str] = {}
    for word in declared.split():
        name, _, kind = word.partition(":")
        columns[name] = kind or ("time" if name == "at" or name.endswith("_at") else "text")
    return columns


COLUMNS: dict[str, dict[str, str]] = {name: _typed(declared) for name, declared in _DECLARED.items()}
MAPS = {
    name: tuple(column for column, kind in columns.items() if kind in ("texts", "numbers"))
    for name, columns in COLUMNS.items()
}
_KEYS = {name: frozenset(columns) for name, columns in COLUMNS.items()} | {LOG: frozenset({"stream", "text"})}


def check_row(table: str, row: Mapping[str, Any]) -> None:
    """Refuse a row that no table has a place for; cheap enough for the training loop.

    Raises:
        ValueError: An unknown table or column.
    """
    known = _KEYS.get(table)
    if known is None:
        raise ValueError(f"there is no table {table!r}; there are {', '.join(_KEYS)}")
    if not known.issuperset(row):
        extra = ", ".join(sorted(map(str, row.keys() - known)))
        raise ValueError(f"the table {table!r} has no column {extra}; it has {', '.join(sorted(known))}")


@lru_cache(maxsize=1)
def _schemas() -> dict[str, pa.Schema]:
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
        "i32": pa.int32(),
        "i64": pa.int64(),
        "f64": pa.float64(),
        "bool": pa.bool_(),
        "texts": pa.map_(pa.string(), pa.string()),
        "numbers": pa.map_(pa.string(), pa.float64()),
    }
    return {
        table: pa.schema(
            [pa.field(name, types[kind]) for name, kind in columns.items()],
            metadata={"dlcluster.version": VERSION},
        )
        for table, columns in COLUMNS.items()
    }


def __getattr__(name: str) -> Any:
    if name == "TABLES":
        return _schemas()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def schema_of(name: str) -> pa.Schema:
    """The Arrow schema of a table.

    Raises:
        ValueError: There is no such table.
    """
    if name not in COLUMNS:
        raise ValueError(f"there is no table {name!r}; there are {', '.join(COLUMNS)}")
    return _schemas()[name]


def rows_to_table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Turn rows into a table; a column that a row lacks is null.

    Raises:
        ValueError: An unknown column, or a value that does not fit its column.
    """
    import pyarrow as pa

    schema = schema_of(name)
    for row in rows:
        check_row(name, row)
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_map(field.type):
            values = [list(value.items()) if isinstance(value, Mapping) else value for value in values]
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError) as error:
            raise ValueError(f"the column {field.name!r} of {name!r} is {field.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def conform(name: str, table: pa.Table) -> pa.Table:
    """Bring a table that was read to today's schema: columns it lacks are null, unknown ones go."""
    import pyarrow as pa

    schema = schema_of(name)
    if table.schema.equals(schema):
        return table.replace_schema_metadata(schema.metadata)
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def concat(name: str, tables: Iterable[pa.Table]) -> pa.Table:
    """Put tables of one name after each other, in today's schema."""
    import pyarrow as pa

    whole = [conform(name, table) for table in tables]
    return pa.concat_tables(whole) if whole else schema_of(name).empty_table()


def write_parquet(table: pa.Table, *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Write a table as Parquet, in memory: zstd, floats split by byte and without a dictionary.

    Args:
        table: What to write.
        metadata: Added to the schema's own.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    floats, others = _leaves(table.schema)
    if metadata:
        table = table.replace_schema_metadata((table.schema.metadata or {}) | dict(metadata))
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=others,
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    )
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _leaves(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """Parquet's names of the float columns and of the others, within maps too."""
    import pyarrow as pa

    floats: list[str] = []
    others: list[str] = []
    for field in schema:
        is_map = pa.types.is_map(field.type)
        leaf = f"{field.name}.key_value.value" if is_map else field.name
        if is_map:
            others.append(f"{field.name}.key_value.key")
        kind = field.type.item_type if is_map else field.type
        (floats if pa.types.is_floating(kind) else others).append(leaf)
    return floats, others


_THREADS_ABOVE = 4 << 20


def read_parquet(data: bytes) -> pa.Table:
    """Read Parquet from memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Arrow's thread pools abort a process that ends right after it read something small ("terminate called
    # without an active exception", 5 of 30 times with pyarrow 26); below megabytes threads gain nothing.
    threads = len(data) > _THREADS_ABOVE
    return pq.read_table(pa.BufferReader(data), use_threads=threads, pre_buffer=threads)
