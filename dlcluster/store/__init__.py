"""Runs in object storage: claims, rows, checkpoints and code, on a local folder or S3.

``open_store(uri)`` is the reader's door (``Store``); drivers and workers use the functions beside it.
Importing this loads neither pyarrow nor boto3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlcluster.store import read as _read
from dlcluster.store.checkpoints import Checkpoint, checkpoint_name, newest_checkpoint, prune, put_checkpoint
from dlcluster.store.clean import clean
from dlcluster.store.code_packages import get_code, put_code
from dlcluster.store.commit import Commit, CommittedFile, Outcome, read_commits, seal
from dlcluster.store.fence import Fence, claim, new_run_id, newest_fence, read_fence, submission_id
from dlcluster.store.objects import ObjectInfo, Objects, open_objects
from dlcluster.store.probe import prepare
from dlcluster.store.read import LogCursor, RunView, newest, read_logs, resolve, view
from dlcluster.store.sender import Sender
from dlcluster.store.state import (
    RunState,
    StopRequest,
    is_lost,
    read_state,
    request_stop,
    stop_requested,
    write_state,
)
from dlcluster.store.writer import Ack, Progress, RunWriter

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Ack",
    "Checkpoint",
    "Commit",
    "CommittedFile",
    "Fence",
    "LogCursor",
    "ObjectInfo",
    "Objects",
    "Outcome",
    "Progress",
    "RunState",
    "RunView",
    "RunWriter",
    "Sender",
    "StopRequest",
    "Store",
    "checkpoint_name",
    "claim",
    "clean",
    "get_code",
    "is_lost",
    "new_run_id",
    "newest",
    "newest_checkpoint",
    "newest_fence",
    "open_objects",
    "open_store",
    "prepare",
    "prune",
    "put_checkpoint",
    "put_code",
    "read_commits",
    "read_fence",
    "read_logs",
    "read_state",
    "request_stop",
    "resolve",
    "seal",
    "stop_requested",
    "submission_id",
    "view",
    "write_state",
]


class Store:
    """All runs of a team, to read.

    Attributes:
        uri: Its canonical address.
        objects: The door to its objects.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.uri = objects.uri

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def runs(self, limit: int = 100) -> list[RunView]:
        """The newest runs, newest first."""
        return newest(self.objects, limit)

    def run(self, ref: str) -> RunView:
        """A run by its id, the beginning of it, or ``latest``.

        Raises:
            RunNotFound: None or several.
        """
        return view(self.objects, resolve(self.objects, ref))

    def table(self, name: str, run: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of a table, those of runs under way too.

        Args:
            name: ``runs``, ``trials``, ``attempts``, ``epochs``, ...
            run: As in ``run()``; None for all runs.
            columns: Which columns, None for all.
        """
        return _read.table(self.objects, name, resolve(self.objects, run) if run else None, columns)

    def files(self, name: str, run: str | None = None) -> list[str]:
        """The committed Parquet files of a table, for any other tool."""
        return _read.files(self.objects, name, resolve(self.objects, run) if run else None)


def open_store(uri: str | Path) -> Store:
    """Open a store to read it; nothing is written, and a folder need not exist yet.

    Raises:
        UsageError: The address is none of a store.
    """
    return Store(open_objects(uri))
