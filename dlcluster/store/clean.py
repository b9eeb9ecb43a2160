"""Clearing away what a commit replaced, once no reader can still be reading it."""

from __future__ import annotations

from dlcluster.store import keys
from dlcluster.store.commit import newest_commit
from dlcluster.store.objects import Objects
from dlcluster.store.schema import COLUMNS

AN_HOUR = 3600.0


def clean(objects: Objects, run_id: str, *, age_seconds: float = AN_HOUR) -> list[str]:
    """Delete the live shards and files that a run's newest commit has replaced.

    Args:
        objects: Where.
        run_id: Whose.
        age_seconds: How old the commit must be, by the store's clock; readers that began before it may go on
        so long.

    Returns:
        The keys deleted.
    """
    commit = newest_commit(objects, run_id)
    if commit is None or commit.run is None:
        return []
    _, age = objects.get_with_age(keys.commit(run_id, commit.n))
    if age < age_seconds:
        return []
    old = [info.key for n in range(1, commit.n + 1) for info in objects.list(f"{keys.live(run_id)}f{n}/")]
    kept = {file.key for file in commit.files}
    day = commit.run["submitted_at"].date()
    for table in COLUMNS:
        for n in range(1, commit.n + 1):
            prefix = keys.table_file(table, day, run_id, n).removesuffix(".parquet")
            old += [info.key for info in objects.list(prefix) if info.key not in kept and info.key[len(prefix)] in ".-"]
    objects.delete(old)
    return old
