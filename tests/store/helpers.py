"""What the store's tests share: claims, rows, outcomes, and a store that crashes when told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from dlcluster.store import Ack, Fence, ObjectInfo, Objects, Outcome, RunWriter, Sender, claim, submission_id
from dlcluster.store.schema import Row

T0 = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
RUN = "20261121-093000-lstm-co2-7f3a"
JOB = {
    "version": 1,
    "name": "lstm-co2",
    "kind": "train",
    "description": "weekly CO2",
    "labels": {"team": "climate"},
    "resources": {"num_workers": 2, "gpus_per_worker": 1.0},
}


def fence(n: int = 1, run_id: str = RUN, *, trials: int = 1, submitted_at: datetime = T0) -> Fence:
    return Fence(
        run_id=run_id,
        n=n,
        action="submit" if n == 1 else "resume",
        job=JOB,
        num_trials_expected=trials,
        code_sha256="ab" * 32,
        submitted_at=submitted_at,
        created_at=submitted_at + timedelta(hours=n - 1),
        created_by="ada@host",
        submission_id=submission_id(run_id, n),
    )


def claimed(objects: Objects, n: int = 1, run_id: str = RUN, *, trials: int = 1) -> Fence:
    objects.writable = objects.writable or not objects.is_local  # the probe's requests have tests of their own
    return claim(objects, fence(n, run_id, trials=trials))


def outcome(state: Any = "SUCCEEDED", **more: Any) -> Outcome:
    code = {"SUCCEEDED": 0, "FAILED": 1, "STOPPED": 6}[state]
    told = {"started_at": T0, "ended_at": T0 + timedelta(minutes=10), "exit_code": code, **more}
    return Outcome(state=state, **told)


def attempt_row(attempt: int = 1, start_epoch: int = 1, *, trial: str = "t1", **more: Any) -> Row:
    row = {"trial_id": trial, "attempt": attempt, "start_epoch": start_epoch, "started_at": T0}
    return "attempts", {**row, **more}


def epoch_row(epoch: int, attempt: int = 1, *, trial: str = "t1", **more: Any) -> Row:
    row = {
        "trial_id": trial,
        "attempt": attempt,
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": 1.0 / epoch + attempt / 1000,
        "metrics": {"mae": float(epoch)},
        "reported_at": T0 + timedelta(seconds=epoch),
    }
    return "epochs", {**row, **more}


def trial_row(state: str | None = "SUCCEEDED", *, trial: str = "t1", **more: Any) -> Row:
    return "trials", {"trial_id": trial, "setting_id": "s1", "seed": 0, "state": state, **more}


def write(objects: Objects, rows: Iterable[Row], n: int = 1, run_id: str = RUN) -> None:
    """Write rows as a driver and its worker do: all durable on return."""
    writer = RunWriter(objects, run_id, n)
    sender = sender_to(writer)
    for table, row in rows:
        if table == "log":
            sender.log(row["stream"], row["text"])
        else:
            sender.send(table, row)
    sender.close(30)
    writer.close(30)


def sender_to(writer: RunWriter, **options: Any) -> Sender:
    def push(name: str, first: int, rows: list[Row], flush: bool) -> Ack:
        return writer.push(name, first, rows, flush=flush)

    return Sender(push, "worker-0", **{"interval": 0.01, **options})


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for another thread's work."""
    end = time.monotonic() + seconds
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < end
        tick.wait(0.005)


def contents(objects: Objects, prefix: str = "") -> dict[str, bytes]:
    keys = [info.key for info in objects.list(prefix)]
    return dict(zip(keys, objects.map(objects.get, keys), strict=True))


def copied(source: Objects, target: Objects) -> Objects:
    list(target.map(lambda item: target.put(*item), contents(source).items()))
    return target


class Crash(BaseException):
    """The process is gone."""


class Crashing(Objects):
    """A store whose process dies at its nth write: before it, or just after it took effect."""

    def __init__(self, real: Objects, at: int, *, after: bool) -> None:
        self._real, self._left, self._after = real, at, after
        self.uri, self.is_local, self.writable = (
            real.uri,
            True,
            real.writable,
        )  # True: one thing after the other
        self.writes = 0

    def _dying(self) -> bool:
        self.writes += 1
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Crash
        return self._left == 0

    def get(self, key: str) -> bytes:
        return self._real.get(key)

    def get_with_age(self, key: str) -> tuple[bytes, float]:
        return self._real.get_with_age(key)

    def put(self, key: str, data: bytes) -> None:
        dying = self._dying()
        self._real.put(key, data)
        if dying:
            raise Crash

    def put_if_absent(self, key: str, data: bytes) -> bool:
        dying = self._dying()
        won = self._real.put_if_absent(key, data)
        if dying:
            raise Crash
        return won

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        return self._real.list(prefix, start_after=start_after)

    def list_folders(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        return self._real.list_folders(prefix, start_after=start_after)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            dying = self._dying()
            self._real.delete([key])
            if dying:
                raise Crash

    def filesystem(self) -> tuple[Any, str]:
        return self._real.filesystem()

    def locate(self, key: str) -> str:
        return self._real.locate(key)
