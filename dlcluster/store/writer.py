"""Driver side: the run's one writer, which makes rows durable while the run goes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex
from typing import Any

from dlcluster.errors import ObjectNotFound, StoreError, Superseded
from dlcluster.store import keys
from dlcluster.store.batch import Batch, Chunk, Numbering, now
from dlcluster.store.objects import Objects
from dlcluster.store.ranges import Received
from dlcluster.store.schema import LOG, Row
from dlcluster.store.shards import Shard, merge

_MERGE = 10
_LARGEST_MERGE = 4_000_000  # rows; above, merging costs more than it saves
_LOG_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0


@dataclass(frozen=True)
class Ack:
    """The writer's answer to a push.

    Attributes:
        flushed: The highest number of this sender's rows that is durable, with all before it.
        control: What the driver last told all workers.
        writer: Which incarnation answers.
        superseded: Why nothing will be flushed any more: a later claim owns the run. None otherwise.
    """

    flushed: int
    control: dict[str, Any] = field(default_factory=dict)
    writer: str = ""
    superseded: str | None = None


@dataclass(frozen=True)
class Progress:
    """How the writer is doing.

    Attributes:
        latest: The newest row of ``epochs``, None before the first.
        counts: Rows received, by table.
        waiting: Rows not durable yet.
        store_error: Why rows cannot be written, None while they can.
        since: When that began.
        superseded: Whether a later claim owns the run: nothing more is written or acknowledged.
    """

    latest: dict[str, Any] | None
    counts: dict[str, int]
    waiting: int
    store_error: str | None
    since: datetime | None
    superseded: bool = False


class RunWriter:
    """Writes the rows of one claim. Thread-safe; ``push`` never raises for the store's sake.

    Args:
        objects: Where.
        run_id: Whose rows.
        fence: The claim's number.
        flush_seconds: How long a row may wait before it is written.
        flush_rows: How many may wait.
    """

    def __init__(
        self, objects: Objects, run_id: str, fence: int, *, flush_seconds: float = 5.0, flush_rows: int = 1000
    ) -> None:
        self.id = token_hex(8)
        self._objects = objects
        self._run_id = keys.check_segment(run_id, "run id")
        self._fence = fence
        self._flush_seconds = flush_seconds
        self._flush_rows = flush_rows
        self._changed = threading.Condition(threading.Lock())
        self._senders: dict[str, Received] = {}
        self._chunks: list[Chunk] = []
        self._oldest: float | None = None  # when the oldest waiting row of a table came
        self._oldest_log: float | None = None
        self._waiting = 0
        self._urgent = self._closing = self._superseded = self._given_up = False
        self._control: dict[str, Any] = {}
        self._counts: Counter[str] = Counter()
        self._latest: dict[str, Any] | None = None
        self._error: str | None = None
        self._since: datetime | None = None
        self._numbering = Numbering(run_id, fence)  # what follows belongs to the thread
        self._levels: dict[tuple[str, int], list[Shard]] = {}
        self._flushed = self._flushed_logs = float("-inf")
        self._thread = threading.Thread(target=self._run, name=f"writer-{run_id}", daemon=True)
        self._thread.start()

    def push(self, sender: str, first_seq: int, rows: list[Row], *, flush: bool = False) -> Ack:
        """Take rows of a sender; those it pushed before are dropped. Quick: nothing is written here.

        Args:
            sender: A name that no other sender ever uses.
            first_seq: The sender's number of the first row.
            rows: May be empty, to ask what is durable.
            flush: Write all that waits now; a later answer says when it is durable.
        """
        with self._changed:
            received = self._senders.setdefault(sender, Received(first_seq))
            new = received.take(first_seq, len(rows) if not self._closing else 0)
            for part in new:
                chunk = Chunk(sender, part, rows[part.start - first_seq : part.stop - first_seq])
                self._chunks.append(chunk)
                self._waiting += len(part)
                self._look_at(chunk.rows)
            self._urgent = self._urgent or (flush and self._waiting > 0) or self._waiting >= self._flush_rows
            if new or flush:
                self._changed.notify_all()
            return Ack(received.flushed, self._control, self.id, self._error if self._superseded else None)

    def _look_at(self, rows: Sequence[Row]) -> None:
        arrived = time.monotonic()
        for table, row in rows:
            self._counts[table] += 1
            if self._counts[table] == 1 and table != LOG:
                self._urgent = True  # somebody waits for the first attempt, and for the first epoch
            if table == "epochs":
                self._latest = row
            if table == LOG:
                self._oldest_log = self._oldest_log or arrived
            else:
                self._oldest = self._oldest or arrived

    def set_control(self, control: dict[str, Any]) -> None:
        """Tell all workers something; they learn it with their next push, a second later at most."""
        with self._changed:
            self._control = dict(control)

    def progress(self) -> Progress:
        """How the writer is doing."""
        with self._changed:
            return Progress(
                latest=dict(self._latest) if self._latest is not None else None,
                counts=dict(self._counts),
                waiting=self._waiting,
                store_error=self._error,
                since=self._since,
                superseded=self._superseded,
            )

    def close(self, timeout: float = 60.0) -> None:
        """Write what waits and end.

        Raises:
            Superseded: A later claim owns the run; what waits is not written.
            StoreError: The store did not take all rows in ``timeout`` seconds.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
            left, error = self._waiting, self._error
        if self._superseded:
            raise Superseded(str(error))
        if left:
            raise StoreError(f"{left} rows of run {self._run_id} were not written within {timeout} s: {error}")

    def _run(self) -> None:
        batch: Batch | None = None
        pause = 0.0
        while True:
            chunks: list[Chunk] = []
            with self._changed:
                if pause:
                    self._pause(pause)
                elif batch is None:
                    while not self._is_due():
                        self._changed.wait(self._rest())
                done = self._closing and batch is None and not self._chunks
                if done or self._given_up or self._superseded:
                    return
                if batch is None:
                    chunks = self._take()
            try:
                self._numbering.recover(self._objects)
                batch = batch or self._numbering.batch(chunks)
                self._put(batch)
            except Exception as error:  # the store, in the main; whatever it is, rows stay and the thread lives
                if batch is None:
                    self._give_back(chunks)
                pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, pause * 2))
                self._failed(str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}")
            else:
                shards, batch, pause = batch.shards, None, 0.0
                self._merge(shards)

    def _pause(self, seconds: float) -> None:
        closing = self._closing
        self._changed.wait_for(lambda: self._given_up or self._closing != closing, seconds)

    def _is_due(self) -> bool:
        return self._given_up or self._superseded or self._closing or self._rest() == 0

    def _rest(self) -> float | None:
        """Seconds until what waits must be written; None while nothing waits."""
        if not self._chunks:
            return None
        if self._urgent:
            return 0.0
        due = []
        if self._oldest is not None:  # the first row after a pause goes at once: a user waits for it
            due.append(max(self._oldest, self._flushed + self._flush_seconds))
        if self._oldest_log is not None:
            patience = self._oldest_log + min(_LOG_SECONDS, self._flush_seconds)
            due.append(max(patience, self._flushed_logs + self._flush_seconds))
        return max(0.0, min(due) - time.monotonic())

    def _take(self) -> list[Chunk]:
        chunks, self._chunks = self._chunks, []
        started = time.monotonic()
        if self._oldest is not None:
            self._flushed = started
        self._flushed_logs = started
        self._oldest = self._oldest_log = None
        self._urgent = False
        return chunks

    def _give_back(self, chunks: list[Chunk]) -> None:
        with self._changed:
            self._chunks = chunks + self._chunks
            self._oldest = self._oldest or time.monotonic()
            self._urgent = True

    def _put(self, batch: Batch) -> None:
        while batch.puts:
            self._objects.put(*batch.puts[0])
            batch.puts.popleft()
        # A sealer of a later claim puts its fence before it lists our shards. So either it saw what we have
        # just put, or we see its fence here and leave the rows unacknowledged.
        try:
            self._objects.get(keys.fence(self._run_id, self._fence + 1))
        except ObjectNotFound:
            pass
        else:
            with self._changed:
                self._superseded = True
                self._error = f"a later claim owns run {self._run_id}; claim {self._fence} has stopped writing"
                self._since = self._since or now()
            return
        with self._changed:
            for chunk in batch.chunks:
                self._senders[chunk.sender].durable(chunk.numbers)
            self._waiting -= batch.num_rows
            self._error = self._since = None
            self._changed.notify_all()

    def _failed(self, error: str) -> None:
        with self._changed:
            self._error = error
            self._since = self._since or now()

    def _merge(self, shards: list[Shard]) -> None:
        """Keep the number of shards low; what cannot be merged now may be later."""
        for shard in shards:
            level, todo = 0, shard
            while True:
                group = self._levels.setdefault((shard.table, level), [])
                group.append(todo)
                if len(group) < _MERGE or group[-1].last - group[0].first >= _LARGEST_MERGE:
                    break
                try:
                    todo = merge(self._objects, self._run_id, group)
                except ObjectNotFound:  # an earlier try put the merged one and deleted some of these
                    group.clear()
                    break
                except Exception:
                    break
                group.clear()
                level += 1
