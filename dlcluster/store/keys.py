"""Where things lie: every key of the store's layout, in one place."""

from __future__ import annotations

import re
from datetime import date

from dlcluster.errors import StoreError

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}")
STORE = "store.json"


def check_segment(value: str, what: str) -> str:
    """Return ``value`` if it may be one step of a key, so that no name leaves its prefix.

    Raises:
        StoreError: The name has other characters than letters, digits and ``._=+-``.
    """
    if not _SEGMENT.fullmatch(value):
        raise StoreError(f"{value!r} cannot be a {what}: use letters, digits and ._=+- only")
    return value


def check_key(key: str) -> str:
    """Return ``key`` if it stays below the store's root and is no hidden (temporary) file.

    Raises:
        StoreError: An absolute key, a step that is empty or begins with a dot, a backslash or a control
        character.
    """
    if any(not step or step.startswith(".") for step in key.split("/")) or re.search(r"[\\\x00-\x1f\x7f]", key):
        raise StoreError(f"{key!r} cannot be a key of the store: it must stay below the store's folder")
    return key


def fences(run_id: str) -> str:
    """Prefix of a run's fences."""
    return f"runs/{run_id}/fences/"


def fence(run_id: str, n: int) -> str:
    """The fence of claim ``n``."""
    return f"runs/{run_id}/fences/{n}.json"


def claim_folder(run_id: str, n: int) -> str:
    """Prefix of what claim ``n`` writes beside its tables: state, logs, artifacts."""
    return f"runs/{run_id}/f{n}/"


def state(run_id: str, n: int) -> str:
    """The state of claim ``n``, overwritten by its owner."""
    return f"runs/{run_id}/f{n}/state.json"


def logs(run_id: str, n: int) -> str:
    """Prefix of claim ``n``'s log segments."""
    return f"runs/{run_id}/f{n}/logs/"


def stop(run_id: str) -> str:
    """Where somebody asks the run to stop."""
    return f"runs/{run_id}/stop.json"


def marker(run_id: str, n: int) -> str:
    """The hint that claim ``n`` is not sealed yet."""
    return f"open/{run_id}.{n}"


def commits(run_id: str) -> str:
    """Prefix of a run's commits."""
    return f"commits/{run_id}/"


def commit(run_id: str, n: int) -> str:
    """The commit point of claim ``n``."""
    return f"commits/{run_id}/{n}.json"


def live(run_id: str) -> str:
    """Prefix of a run's live shards, all fences."""
    return f"live/{run_id}/"


def shard(run_id: str, n: int, table: str, first: int, last: int) -> str:
    """The live shard with rows ``first`` to ``last`` of a table."""
    return f"live/{run_id}/f{n}/{table}-{first:012d}-{last:012d}.parquet"


def table_file(table: str, day: date, run_id: str, n: int, suffix: str = "") -> str:
    """A sealed file of claim ``n``; ``suffix`` tells parts and rivals apart."""
    return f"tables/{table}/date={day.isoformat()}/{run_id}-f{n}{suffix}.parquet"


def checkpoints(run_id: str, trial_id: str) -> str:
    """Prefix of a trial's checkpoints, all fences."""
    return f"checkpoints/{run_id}/{trial_id}/"


def model(run_id: str, n: int, trial_id: str) -> str:
    """Prefix of the model that claim ``n`` left for a trial."""
    return f"models/{run_id}/f{n}/{trial_id}/"


def code(sha256: str) -> str:
    """A code package."""
    return f"code/{sha256}.zip"
