"""What a seal writes: every table of a run up to a claim, with ends and counts that add up."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dlcluster.errors import ExitCode, StoreError
from dlcluster.store.commit import Commit, Outcome, newest_commit
from dlcluster.store.fence import Fence
from dlcluster.store.objects import Objects
from dlcluster.store.rows import coalesce, last_of_each, split_live
from dlcluster.store.schema import COLUMNS, concat, conform, read_parquet, rows_to_table
from dlcluster.store.shards import Shard, list_shards, read_shards
from dlcluster.store.state import TERMINAL

if TYPE_CHECKING:
    import pyarrow as pa

ROW_TABLES = tuple(name for name in COLUMNS if name not in ("runs", "epochs_superseded"))
# Not an import: the package's front door leads to layers above this one.
_VERSION = str(sys.modules["dlcluster"].__version__)
_TOGETHER = ("state", "reason", "ended_at")


def needed(name: str) -> tuple[str, ...]:
    """The tables that must be read to know one."""
    return ("epochs", "epochs_superseded", "attempts") if name in ("epochs", "epochs_superseded") else (name,)


def gather(
    objects: Objects,
    base: Commit | None,
    shards: list[Shard],
    names: tuple[str, ...],
    *,
    verify: bool = False,
) -> dict[str, pa.Table]:
    """Read the rows of a commit and of shards above it, as they were written.

    Raises:
        ObjectNotFound: Something was merged or cleaned meanwhile; list again.
        StoreError: A committed file is not what was committed.
    """
    tables = read_shards(objects, shards, names)
    files = [file for file in base.files if file.table in names] if base else []
    for file, data in zip(files, objects.map(lambda file: objects.get(file.key), files), strict=True):
        if verify and hashlib.sha256(data).hexdigest() != file.sha256:
            raise StoreError(f"{objects.locate(file.key)} is damaged: its content is not what was committed")
        tables[file.table].insert(0, conform(file.table, read_parquet(data)))
    return {name: concat(name, parts) for name, parts in tables.items()}


def settle(name: str, tables: dict[str, pa.Table]) -> pa.Table:
    """Apply the row rule: what of the rows that were read is the table.

    Args:
        name: The table wanted.
        tables: What ``gather`` read for ``needed(name)``.
    """
    if name in ("epochs", "epochs_superseded"):
        rows = concat("epochs", [tables["epochs"], tables["epochs_superseded"]])
        return split_live(rows, tables["attempts"])[name == "epochs_superseded"]
    if name in ("trials", "attempts"):
        return rows_to_table(name, _told(name, tables[name]))
    if name == "environments":
        return last_of_each(tables[name], ["fence", "environment_id", "host"])
    return last_of_each(tables[name], ["fence", "seq"])


def _told(name: str, table: pa.Table) -> list[dict[str, Any]]:
    """Rows of trials or attempts, one for each, from all that was told about it."""
    rows = sorted(table.to_pylist(), key=lambda row: (row["fence"] or 0, row["seq"] or 0))
    if name == "trials":
        return coalesce(rows, ["trial_id"], together=_TOGETHER)
    return coalesce(rows, ["trial_id", "fence", "attempt"])


def sealed_tables(objects: Objects, fence: Fence, outcome: Outcome) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """All tables of the run up to a claim that have rows, and the runs row.

    The same shards and outcome give the same tables, row for row.
    """
    shards = list_shards(objects, fence.run_id)
    base = newest_commit(objects, fence.run_id, below=fence.n)
    above = [shard for shard in shards if (base.n if base else 0) < shard.fence <= fence.n]
    read = gather(objects, base, above, (*ROW_TABLES, "epochs_superseded"), verify=True)
    tables: dict[str, pa.Table] = {}
    live, superseded = split_live(concat("epochs", [read["epochs"], read["epochs_superseded"]]), read["attempts"])
    tables["epochs"], tables["epochs_superseded"] = live, conform("epochs_superseded", superseded)
    attempts = _ended_attempts(fence, outcome, _told("attempts", read["attempts"]), [live, superseded])
    trials = _ended_trials(outcome, _told("trials", read["trials"]))
    tables["attempts"], tables["trials"] = (
        rows_to_table("attempts", attempts),
        rows_to_table("trials", trials),
    )
    for name in ROW_TABLES:
        if name not in tables:
            tables[name] = settle(name, read)
    run = _runs_row(fence, outcome, base, trials, attempts=len(attempts), epochs=live.num_rows)
    tables = {name: tables[name] for name in COLUMNS if name in tables and tables[name].num_rows}
    return {"runs": rows_to_table("runs", [run]), **tables}, run


def _ended_attempts(
    fence: Fence, outcome: Outcome, attempts: list[dict[str, Any]], epochs: list[pa.Table]
) -> list[dict[str, Any]]:
    """Give every attempt an end and a cause, also those of which only epochs are known."""
    seen = _seen_in_epochs(epochs)
    known = {(row["trial_id"], row["fence"], row["attempt"]): row for row in attempts}
    for key, (first, _) in seen.items():
        row = known.setdefault(key, dict.fromkeys(COLUMNS["attempts"]))
        row.update(run_id=fence.run_id, trial_id=key[0], fence=key[1], attempt=key[2])
        if row["start_epoch"] is None:
            row["start_epoch"] = first
    for key, row in known.items():
        ours = row["fence"] == fence.n
        if row["ended_at"] is None:
            if ours:
                row["ended_at"] = outcome.ended_at
            else:  # its driver died some time after the last it told
                told = [time for time in (seen.get(key, (0, None))[1], row["started_at"]) if time is not None]
                row["ended_at"] = max(told, default=outcome.ended_at)
        if row["state"] not in TERMINAL:
            row["state"] = outcome.state if ours else "FAILED"
            row["cause"] = row["cause"] or (outcome.state.lower() if ours else "driver_lost")
        row["cause"] = row["cause"] or row["state"].lower()
        if row["duration_seconds"] is None and row["started_at"] is not None:
            row["duration_seconds"] = _seconds(row["started_at"], row["ended_at"])
    return [known[key] for key in sorted(known)]


def _seen_in_epochs(epochs: list[pa.Table]) -> dict[tuple[str, int, int], tuple[int, datetime | None]]:
    """For each attempt with epoch rows its first epoch and the time of its last report."""
    import pyarrow as pa

    columns = ["trial_id", "fence", "attempt", "epoch", "reported_at"]
    table = pa.concat_tables([part.select(columns) for part in epochs])
    grouped = table.group_by(columns[:3]).aggregate([("epoch", "min"), ("reported_at", "max")])
    return {
        (row["trial_id"], row["fence"], row["attempt"]): (row["epoch_min"], row["reported_at_max"])
        for row in grouped.to_pylist()
    }


def _ended_trials(outcome: Outcome, trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in trials:
        if row["state"] not in TERMINAL:
            row["state"] = "FAILED" if outcome.state == "SUCCEEDED" else outcome.state
            row["reason"] = row["reason"] or outcome.reason or "the run ended before the trial did"
            row["ended_at"] = row["ended_at"] or outcome.ended_at
    return trials


def _runs_row(
    fence: Fence,
    outcome: Outcome,
    base: Commit | None,
    trials: list[dict[str, Any]],
    *,
    attempts: int,
    epochs: int,
) -> dict[str, Any]:
    """The run's row; what only a claim knows (times, GPU time, best) is added to what the last commit has."""
    counts = Counter(row["state"] for row in trials)
    state, reason, exit_code = outcome.state, outcome.reason, outcome.exit_code
    if state == "SUCCEEDED" and counts["SUCCEEDED"] != fence.num_trials_expected:
        state, exit_code = "FAILED", int(ExitCode.FAILED)
        reason = f"{counts['SUCCEEDED']} of {fence.num_trials_expected} trials succeeded" + (
            f"; {reason}" if reason else ""
        )
    before = (base.run if base else None) or {}
    row = fence_row(fence) | {
        "state": state,
        "reason": reason,
        "exit_code": exit_code,
        "started_at": min(filter(None, (before.get("started_at"), outcome.started_at)), default=None),
        "ended_at": outcome.ended_at,
        "duration_seconds": _sum(
            before.get("duration_seconds"),
            _seconds(outcome.started_at, outcome.ended_at) if outcome.started_at else None,
        ),
        "num_trials_succeeded": counts["SUCCEEDED"],
        "num_trials_failed": counts["FAILED"],
        "num_trials_stopped": counts["STOPPED"],
        "num_attempts": attempts,
        "num_epochs": epochs,
        "gpu_seconds": _sum(before.get("gpu_seconds"), outcome.gpu_seconds),
    }
    if outcome.best_trial_id is None and outcome.best_value is None:
        best = {name: before.get(name) for name in ("best_trial_id", "best_value")}
        return row | best | {name: getattr(outcome, name) or before.get(name) for name in ("metric", "mode")}
    return row | {name: getattr(outcome, name) for name in ("metric", "mode", "best_trial_id", "best_value")}


def fence_row(fence: Fence) -> dict[str, Any]:
    """What a claim alone says about its run, as a runs row."""
    job = fence.job
    resources = job.get("resources") or {}
    spec = json.dumps(job, sort_keys=True, separators=(",", ":"))
    return dict.fromkeys(COLUMNS["runs"]) | {
        "run_id": fence.run_id,
        "name": job.get("name") or fence.run_id[16:-5] or fence.run_id,
        "kind": job.get("kind") or "train",
        "description": job.get("description") or "",
        "labels": dict(job.get("labels") or {}),
        "submitted_at": fence.submitted_at,
        "submitted_by": fence.created_by,
        "num_trials_expected": fence.num_trials_expected,
        "num_workers": resources.get("num_workers"),
        "gpus_per_worker": resources.get("gpus_per_worker"),
        "spec": spec,
        "spec_sha256": hashlib.sha256(spec.encode()).hexdigest(),
        "code_sha256": fence.code_sha256,
        "fence": fence.n,
        "submission_id": fence.submission_id,
        "dlcluster_version": _VERSION,
    }


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
