"""Commits: the one object that makes a claim's files the run's, and the sealing that puts it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from dlcluster.errors import ObjectNotFound, StoreError, Superseded
from dlcluster.store import keys
from dlcluster.store.fence import Fence, numbers
from dlcluster.store.objects import Objects
from dlcluster.store.probe import prepare
from dlcluster.store.schema import COLUMNS

_LARGEST_FILE = 256 << 20
_RESTARTS = 5


class Outcome(BaseModel):
    """How a claim ended, as its driver (or who seals in its stead) says.

    Attributes:
        metric: What trials were ranked by, with its ``mode``.
        gpu_seconds: This claim's; the run's row has the sum over its claims.
    """

    model_config = ConfigDict(frozen=True)

    state: Literal["SUCCEEDED", "FAILED", "STOPPED"]
    reason: str | None = None
    exit_code: int
    started_at: datetime | None = None
    ended_at: datetime
    metric: str | None = None
    mode: str | None = None
    best_trial_id: str | None = None
    best_value: float | None = None
    gpu_seconds: float | None = None


class CommittedFile(BaseModel):
    """A sealed file; it never changes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: str
    key: str
    rows: int
    bytes: int
    sha256: str


class Commit(BaseModel):
    """The commit point of claim ``n``.

    Attributes:
        tombstone: A later claim put it so that claim ``n`` never commits; it has no files and no run.
        run: The runs row, times as datetimes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    n: int
    tombstone: bool = False
    sealed_at: datetime
    files: list[CommittedFile] = []
    run: dict[str, Any] | None = None

    @field_validator("run")
    @classmethod
    def _with_times(cls, row: dict[str, Any] | None) -> dict[str, Any] | None:
        if row is None:
            return None
        times = {name for name, kind in COLUMNS["runs"].items() if kind == "time"}
        return {
            name: datetime.fromisoformat(value).astimezone(UTC) if name in times and isinstance(value, str) else value
            for name, value in row.items()
        }


def read_commit(objects: Objects, run_id: str, n: int) -> Commit:
    """Read the commit of claim ``n``.

    Raises:
        ObjectNotFound: The claim is not sealed.
    """
    key = keys.commit(run_id, n)
    data = objects.get(key)
    try:
        return Commit.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(f"{objects.locate(key)} is not a commit: {error}") from error


def read_commits(objects: Objects, run_id: str) -> list[Commit]:
    """A run's commits, tombstones among them, ascending."""
    found = numbers(objects, keys.commits(run_id))
    return list(objects.map(lambda n: read_commit(objects, run_id, n), found))


def newest_commit(objects: Objects, run_id: str, *, below: int | None = None) -> Commit | None:
    """The highest commit that is no tombstone; its files are the run's."""
    for n in reversed(numbers(objects, keys.commits(run_id))):
        if below is None or n < below:
            commit = read_commit(objects, run_id, n)
            if not commit.tombstone:
                return commit
    return None


def seal(objects: Objects, fence: Fence, outcome: Outcome) -> Commit:
    """Make all rows of a run up to a claim visible as one, and final.

    May be repeated, raced and killed anywhere: the first commit put is the claim's, and every other try
    returns it.

    Raises:
        Superseded: A later claim has sealed the run.
        StoreError: The store is away or refuses, or rows that were acknowledged are not there.
    """
    from dlcluster.store.sealing import sealed_tables

    prepare(objects)
    run_id, n = fence.run_id, fence.n
    done = set(numbers(objects, keys.commits(run_id)))
    if n in done:
        return _finished(objects, fence)
    # Tombstones come before the rows are read: a writer of an earlier claim sees this claim's fence before it
    # acknowledges anything that the reading below may miss, and a sealer of one can no longer change what is
    # below us.
    stone = Commit(run_id=run_id, n=1, tombstone=True, sealed_at=datetime.now(UTC))
    for m in range(1, n):
        if m not in done:
            data = stone.model_copy(update={"n": m}).model_dump_json().encode()
            objects.put_if_absent(keys.commit(run_id, m), data)

    for restart in range(_RESTARTS):
        try:
            tables, run = sealed_tables(objects, fence, outcome)
            break
        except ObjectNotFound:  # a merge went on while we listed
            if restart == _RESTARTS - 1:
                raise
    puts = objects.map(lambda name: _put_table(objects, fence, name, tables[name]), tables)
    files = [file for files in puts for file in files]
    commit = Commit(run_id=run_id, n=n, sealed_at=datetime.now(UTC), files=files, run=run)
    objects.put_if_absent(keys.commit(run_id, n), commit.model_dump_json().encode())
    return _finished(objects, fence)


def _finished(objects: Objects, fence: Fence) -> Commit:
    """Read the claim's commit, whoever put it, and clear away what it makes needless."""
    commit = read_commit(objects, fence.run_id, fence.n)
    _delete_others(objects, fence, {file.key for file in commit.files})
    if commit.tombstone:
        raise Superseded(
            f"claim {fence.n} of run {fence.run_id} cannot be sealed: a later claim has taken the run over",
            hint=f"dlcluster show {fence.run_id}",
        )
    objects.delete(keys.marker(fence.run_id, m) for m in range(1, fence.n + 1))
    return commit


def _put_table(objects: Objects, fence: Fence, name: str, table: Any) -> list[CommittedFile]:
    """Put a table's files. The same content has the same name; another sealer's other content another one."""
    from dlcluster.store.schema import write_parquet

    parts = [(table, write_parquet(table))]
    if len(parts[0][1]) > _LARGEST_FILE:
        count = len(parts[0][1]) // _LARGEST_FILE + 1
        rows = -(-table.num_rows // count)
        slices = [table.slice(start, rows) for start in range(0, table.num_rows, rows)]
        parts = [(part, write_parquet(part)) for part in slices]
    day = fence.submitted_at.date()
    files = []
    for number, (part, data) in enumerate(parts, 1):
        sha256 = hashlib.sha256(data).hexdigest()
        suffix = f"-p{number}" if len(parts) > 1 else ""
        key = keys.table_file(name, day, fence.run_id, fence.n, suffix)
        if not objects.put_if_absent(key, data) and not _is(objects, key, sha256):
            key = keys.table_file(name, day, fence.run_id, fence.n, f"{suffix}-{sha256[:16]}")
            objects.put_if_absent(key, data)
        rows = part.num_rows
        files.append(CommittedFile(table=name, key=key, rows=rows, bytes=len(data), sha256=sha256))
    return files


def _is(objects: Objects, key: str, sha256: str) -> bool:
    try:
        return hashlib.sha256(objects.get(key)).hexdigest() == sha256
    except ObjectNotFound:  # a rival lost and took it away: another name will do
        return False


def _delete_others(objects: Objects, fence: Fence, kept: set[str]) -> None:
    """Delete files of this claim that its commit does not name: no other try can commit them any more."""
    day = fence.submitted_at.date()
    prefixes = [keys.table_file(table, day, fence.run_id, fence.n).removesuffix(".parquet") for table in COLUMNS]
    found = objects.map(lambda prefix: [(prefix, info.key) for info in objects.list(prefix)], prefixes)
    objects.delete(
        key
        for some in found
        for prefix, key in some
        if key not in kept and key[len(prefix)] in ".-"  # not claim 12's when this is claim 1
    )
