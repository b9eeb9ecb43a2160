"""Readers of rows: a table of one run or of all, and the files that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlcluster.errors import ObjectNotFound, RunNotFound, StoreError
from dlcluster.store.commit import Commit, CommittedFile, newest_commit, read_commit
from dlcluster.store.objects import Objects
from dlcluster.store.runs import view
from dlcluster.store.schema import COLUMNS, concat, conform, read_parquet, rows_to_table, schema_of
from dlcluster.store.sealing import gather, needed, settle
from dlcluster.store.shards import list_shards

if TYPE_CHECKING:
    import pyarrow as pa

_RESTARTS = 5
_LARGE = 8 << 20  # from here on reading some columns only is worth more requests


def table(objects: Objects, name: str, run_id: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table: the rows of the highest commit and of live shards above it, the row rule applied.

    Args:
        objects: Where.
        name: One of ``schema.COLUMNS``.
        run_id: One run, None for all.
        columns: Which columns, None for all.

    Raises:
        ValueError: No such table or column.
        StoreError: The store is away, or objects that should be there are not.
    """
    schema = schema_of(name)
    unknown = [column for column in columns or () if column not in schema.names]
    if unknown:
        raise ValueError(f"the table {name!r} has no column {', '.join(unknown)}; it has {', '.join(schema.names)}")
    wanted = list(columns) if columns is not None else schema.names
    known = _sealed_runs(objects) if run_id is None else {run_id: None}
    parts = objects.map(lambda one: _restarting(objects, name, one, known[one], wanted), sorted(known))
    return concat(name, parts).select(wanted)


def files(objects: Objects, name: str, run_id: str | None = None) -> list[str]:
    """The committed Parquet files of a table, as paths or ``s3://`` addresses for any other tool.

    A plain glob over ``tables/`` may see a seal under way, or files that a later one has replaced; this does
    not.

    Raises:
        ValueError: No such table.
    """
    schema_of(name)
    if run_id is None:
        known = {one: n for one, n in _sealed_runs(objects).items() if n != 0}
        commits = list(objects.map(lambda one: _commit(objects, one, known[one]), sorted(known)))
    else:
        commits = [newest_commit(objects, run_id)]
    return [objects.locate(file.key) for commit in commits if commit for file in commit.files if file.table == name]


def _sealed_runs(objects: Objects) -> dict[str, int | None]:
    """Every run with the number of its commit where that is final, None where not, 0 without one."""
    highest: dict[str, int] = {}
    for info in objects.list("commits/"):
        run_id, _, name = info.key[len("commits/") :].partition("/")
        number = name.removesuffix(".json")
        if number.isdigit():
            highest[run_id] = max(int(number), highest.get(run_id, 0))
    known: dict[str, int | None] = dict(highest)
    for info in objects.list("open/"):
        run_id, _, number = info.key[len("open/") :].rpartition(".")
        if number.isdigit() and int(number) > highest.get(run_id, 0):
            known[run_id] = None if run_id in highest else 0
    return known


def _commit(objects: Objects, run_id: str, n: int | None) -> Commit | None:
    if n:
        try:
            commit = read_commit(objects, run_id, n)
            if not commit.tombstone:
                return commit
        except ObjectNotFound:
            pass
    return newest_commit(objects, run_id)


def _restarting(objects: Objects, name: str, run_id: str, sealed: int | None, columns: list[str]) -> pa.Table:
    missing: ObjectNotFound | None = None
    for _ in range(_RESTARTS):
        try:
            return _read(objects, name, run_id, sealed if missing is None else None, columns)
        except ObjectNotFound as error:  # merged, sealed or cleaned since it was listed: look again
            missing = error
    raise StoreError(f"run {run_id} cannot be read whole: {missing}", hint="dlcluster store check") from missing


def _read(objects: Objects, name: str, run_id: str, sealed: int | None, columns: list[str]) -> pa.Table:
    if sealed:
        commit = read_commit(objects, run_id, sealed)
        if not commit.tombstone:
            return _committed(objects, commit, name, columns)
    if name == "runs":
        return _runs(objects, run_id)
    # Shards before commits: a seal in between makes them needless, never the other way round.
    shards = list_shards(objects, run_id)
    base = newest_commit(objects, run_id)
    above = [shard for shard in shards if shard.fence > (base.n if base else 0)]
    if not above:
        return _committed(objects, base, name, columns) if base else _empty(name, columns)
    return settle(name, gather(objects, base, above, needed(name))).select(columns)


def _empty(name: str, columns: list[str]) -> pa.Table:
    return schema_of(name).empty_table().select(columns)


def _runs(objects: Objects, run_id: str) -> pa.Table:
    try:
        return rows_to_table("runs", [view(objects, run_id).run])
    except RunNotFound:
        return schema_of("runs").empty_table()


def _committed(objects: Objects, commit: Commit, name: str, columns: list[str]) -> pa.Table:
    if name == "runs" and commit.run is not None:
        return rows_to_table(name, [{key: commit.run[key] for key in COLUMNS[name] if key in commit.run}])
    parts = [_file(objects, file, columns) for file in commit.files if file.table == name]
    return concat(name, parts)


def _file(objects: Objects, file: CommittedFile, columns: list[str]) -> pa.Table:
    if file.bytes < _LARGE or len(columns) == len(COLUMNS[file.table]):
        return conform(file.table, read_parquet(objects.get(file.key)))
    import pyarrow.parquet as pq

    filesystem, base = objects.filesystem()
    objects.requests += 1
    try:
        with filesystem.open_input_file(base + file.key) as source:
            there = pq.ParquetFile(source)
            names = [column for column in columns if column in there.schema_arrow.names]
            return conform(file.table, there.read(names))
    except FileNotFoundError as error:
        raise ObjectNotFound(f"{objects.locate(file.key)} is not there") from error
    except OSError as error:
        raise StoreError(f"the store {objects.uri} cannot be read: {error}") from error
