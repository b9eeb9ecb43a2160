"""The readers in one place: runs (``runs.py``), their rows (``tables.py``) and their logs (``logs.py``)."""

from __future__ import annotations

from dlcluster.store.logs import LogCursor, read_logs
from dlcluster.store.runs import RunView, newest, resolve, view
from dlcluster.store.tables import files, table

__all__ = ["LogCursor", "RunView", "files", "newest", "read_logs", "resolve", "table", "view"]
