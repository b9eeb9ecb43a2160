"""Worker side: rows leave the training loop at once and are kept until they are durable."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from secrets import token_hex
from typing import Any

from dlcluster.errors import StoreError, Superseded
from dlcluster.store.schema import LOG, MAPS, Row, check_row
from dlcluster.store.writer import Ack

Push = Callable[[str, int, list[Row], bool], Ack]
_ROWS_PER_PUSH = 5_000
_IDLE_SECONDS = 1.0  # how often a worker with nothing to say asks what the driver wants
_URGENT_SECONDS = 0.02
_LONGEST_PAUSE = 5.0


def _silent(_message: str) -> None:
    pass


class Sender:
    """Takes rows from one worker to the run's writer. Thread-safe.

    Rows that the writer has not acknowledged as flushed are kept, and sent again where a push failed or
    another incarnation of the writer answers. Rows of a table need no copy by the caller: they are copied one
    level deep.

    Args:
        push: ``RunWriter.push``, however it is reached; may block and raise.
        name: Who sends; made unique here, so that a worker started again is not taken for its predecessor.
        limit_bytes: Rough size of the waiting rows above which ``send`` blocks.
        interval: Seconds between pushes; the first row after a pause goes at once.
        say: Told in words when rows cannot be sent, and when they can again.
    """

    def __init__(
        self,
        push: Push,
        name: str,
        *,
        limit_bytes: int = 64 << 20,
        interval: float = 0.5,
        say: Callable[[str], None] = _silent,
    ) -> None:
        self.name = f"{name}-{token_hex(4)}"
        self._push = push
        self._limit = limit_bytes
        self._interval = interval
        self._say = say
        self._changed = threading.Condition(threading.Lock())
        self._rows: deque[tuple[Row, int]] = deque()  # not acknowledged, with their rough sizes
        self._bytes = 0
        self._first = 1  # the number of the first of them
        self._sent = 0  # how many of them the present writer has been given
        self._writer = ""
        self._control: dict[str, Any] = {}
        self._full = False  # training waits: do not keep to the interval
        self._closing = False
        self._abandoned = False
        self._superseded: str | None = None
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"sender-{name}", daemon=True)
        self._thread.start()

    @property
    def control(self) -> dict[str, Any]:
        """What the driver last told all workers; at most about a second old."""
        return self._control

    def send(self, table: str, row: dict[str, Any]) -> None:
        """Send a row and return at once; blocks only while more than ``limit_bytes`` wait.

        Once a later claim owns the run, rows are dropped and nothing blocks; ``close`` says so.

        Raises:
            ValueError: No such table or column.
            StoreError: The sender is closed.
        """
        check_row(table, row)
        kept = row.copy()
        for name in MAPS.get(table, ()):
            if type(kept.get(name)) is dict:
                kept[name] = kept[name].copy()
        self._keep((table, kept), 200 + 64 * len(row))

    def log(self, stream: str, text: str) -> None:
        """Send whole lines of text; a newline at the end is added where it lacks."""
        self._keep((LOG, {"stream": stream, "text": text}), 200 + len(text))

    def _keep(self, row: Row, size: int) -> None:
        if self._bytes > self._limit:
            self._wait_for_room()
        with self._changed:
            if self._closing:
                raise StoreError("a row was sent after the sender was closed")
            if self._superseded:
                return
            self._rows.append((row, size))
            self._bytes += size
            if len(self._rows) == self._sent + 1:
                self._changed.notify_all()

    def _wait_for_room(self) -> None:
        with self._changed:
            first, self._full = not self._full, True
            rows = len(self._rows)
            self._changed.notify_all()
        if first:  # not under the lock: what it says may become a row itself
            self._say(
                f"training waits: {rows} rows could not be written to the store yet"
                + (f" ({self._failure})" if self._failure else "")
            )
        with self._changed:
            self._changed.wait_for(lambda: self._bytes <= self._limit or self._closing)
            self._full = False
        if first:
            self._say("training goes on: the store takes rows again")

    def close(self, timeout: float | None = None) -> None:
        """Return when the last row is durable.

        Args:
            timeout: Seconds to wait, None for as long as it takes.

        Raises:
            Superseded: A later claim owns the run; rows not acknowledged until then are not durable.
            StoreError: The time is over; says how many rows are not durable.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._rows, timeout)
            left, self._abandoned = len(self._rows), not done
            self._changed.notify_all()
        if not done:
            raise StoreError(
                f"{left} rows of {self.name} were not written within {timeout} s"
                + (f": {self._failure}" if self._failure else ""),
                hint="a resume writes again what a checkpoint holds",
            )
        self._thread.join(_IDLE_SECONDS)
        if self._superseded:
            raise Superseded(self._superseded)

    def _run(self) -> None:
        pushed, pause = float("-inf"), 0.0
        while True:
            with self._changed:
                self._rest(pushed, pause)
                if self._abandoned or (self._closing and not self._rows):
                    return
                batch = [row for row, _ in islice(self._rows, self._sent, self._sent + _ROWS_PER_PUSH)]
                first = self._first + self._sent
                urgent = self._urgent()
            pushed = time.monotonic()
            try:
                ack = self._push(self.name, first, batch, urgent)
            except Exception as error:  # whatever carries the push: rows stay and are sent again
                pause = min(_LONGEST_PAUSE, max(0.1, pause * 2))
                self._failed(f"{type(error).__name__}: {error}")
            else:
                pause = 0.0
                self._acknowledged(ack, len(batch))

    def _rest(self, pushed: float, pause: float) -> None:
        """Wait until the next push is due: after a failed one, between two, or for something to say."""
        closing = self._closing
        if pause:
            self._changed.wait_for(lambda: self._abandoned or self._closing != closing, pause)
            return
        self._changed.wait_for(lambda: self._urgent() or len(self._rows) > self._sent, self._idle())
        self._changed.wait_for(self._urgent, max(0.0, pushed + self._interval - time.monotonic()))
        if self._urgent():
            least = max(0.0, pushed + _URGENT_SECONDS - time.monotonic())
            self._changed.wait_for(lambda: self._abandoned or not self._rows, least)

    def _urgent(self) -> bool:
        return self._closing or self._full

    def _idle(self) -> float:
        """Rows that wait for their flush are asked after at the interval, the driver's wishes more seldom."""
        return self._interval if self._rows else max(self._interval, _IDLE_SECONDS)

    def _failed(self, error: str) -> None:
        first = self._failure is None
        with self._changed:
            self._failure = error
            self._sent = 0  # the writer may be another one when it answers again
        if first:
            self._say(f"rows wait, the run's writer does not answer: {error}")

    def _acknowledged(self, ack: Ack, pushed: int) -> None:
        recovered = self._failure is not None
        with self._changed:
            self._failure = None
            self._control = ack.control
            if ack.superseded:
                self._superseded = ack.superseded
                self._rows.clear()
                self._bytes = self._sent = 0
                self._changed.notify_all()
                return
            if ack.writer != self._writer:
                # A new writer knows nothing of what the last one was given: what it says is flushed is not
                # what we sent, so all that is not acknowledged goes again. The first writer of all has
                # nothing to miss.
                fresh = not self._writer and self._first == 1 and self._sent == 0
                self._writer = ack.writer
                if not fresh:
                    self._sent = 0
                    return
            self._sent += pushed
            while self._rows and self._first <= ack.flushed:
                _, size = self._rows.popleft()
                self._first += 1
                self._bytes -= size
                self._sent = max(0, self._sent - 1)
            self._changed.notify_all()
        if recovered:
            self._say("rows are being written again")
