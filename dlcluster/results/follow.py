"""Follows a run through the store: what it logs, each epoch as it lands, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dlcluster.errors import ExitCode, ObjectNotFound
from dlcluster.store.read import read_logs, view
from dlcluster.store.schema import read_parquet

if TYPE_CHECKING:
    from dlcluster.store.objects import Objects
    from dlcluster.store.read import RunView

_DEAD_SECONDS = 2.0


@dataclass(frozen=True)
class Update:
    """Something new about a run; exactly one field is set.

    Attributes:
        epoch: An epoch's row.
        line: A line of its log.
        view: Its state, after it changed; the last update has a sealed or lost one.
    """

    epoch: dict[str, Any] | None = None
    line: str | None = None
    view: RunView | None = None


class _Epochs:
    """Epoch rows of a run's live shards, each handed out once."""

    def __init__(self, objects: Objects, run_id: str) -> None:
        self.objects, self.prefix = objects, f"live/{run_id}/"
        self.shards: set[str] = set()
        self.rows: set[tuple[str, int, int, int]] = set()

    def new(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for info in self.objects.list(self.prefix):
            if "/epochs-" not in info.key or info.key in self.shards:
                continue
            try:
                read = read_parquet(self.objects.get(info.key)).to_pylist()
            except ObjectNotFound:
                continue  # merged into a larger one meanwhile, which the next listing has
            self.shards.add(info.key)
            for row in read:
                key = (row["trial_id"], row["fence"], row["attempt"], row["epoch"])
                if key not in self.rows:
                    self.rows.add(key)
                    rows.append(row)
        return sorted(rows, key=lambda row: (row["fence"], row["attempt"], row["epoch"]))


def follow(
    objects: Objects,
    run_id: str,
    *,
    logs: bool = False,
    dead: Callable[[], str | None] = lambda: None,
    until: float | None = None,
    poll_seconds: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Update]:
    """Yields what is new about a run until it has ended; what was before comes first.

    Args:
        objects: The store.
        run_id: The run.
        logs: Lines of the log instead of epochs.
        dead: Asked every two seconds; returns why the run's driver is known to be dead, or None.
        until: A ``time.monotonic()`` after which to give up.
        poll_seconds: Seconds between looks; default 0.1 for a folder and 1 for object storage.
        sleep: Waits.
    """
    pause = poll_seconds if poll_seconds is not None else (0.1 if objects.is_local else 1.0)
    epochs, cursor = _Epochs(objects, run_id), None
    shown: tuple[str, str | None] | None = None
    asked = time.monotonic()
    while True:
        # State first: what is found after a terminal state has been seen is complete.
        seen = view(objects, run_id)
        if logs:
            lines, cursor = read_logs(objects, run_id, after=cursor)
            yield from (Update(line=line) for line in lines)
        else:
            yield from (Update(epoch=row) for row in epochs.new())
        ended = seen.exit_code is not None
        if ended or (seen.state, seen.reason) != shown:
            shown = (seen.state, seen.reason)
            yield Update(view=seen)
        if ended or (until is not None and time.monotonic() >= until):
            return
        if time.monotonic() - asked > _DEAD_SECONDS:
            asked = time.monotonic()
            reason = dead()
            if reason is not None:
                last = view(objects, run_id)  # its last act may have been the seal
                if last.exit_code is None:
                    last = replace(
                        last, state="FAILED", reason=f"driver lost: {reason}", exit_code=int(ExitCode.FAILED)
                    )
                    yield Update(view=last)
                    return
                continue
        sleep(pause)
