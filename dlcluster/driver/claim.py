"""Keeps one claim on a run: heartbeat, stop requests, limits, and whether a later claim has taken over."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dlcluster.errors import ExitCode, StoreError
from dlcluster.spec import TrainJob
from dlcluster.store.fence import newest_fence
from dlcluster.store.state import RunState, stop_requested, write_state

if TYPE_CHECKING:
    from dlcluster.spec import Job
    from dlcluster.store.fence import Fence
    from dlcluster.store.objects import Objects
    from dlcluster.store.writer import Progress

HEARTBEAT_SECONDS = 10.0
_STOP_POLL_SECONDS = 1.0


def flush_seconds(objects: Objects) -> float:
    """How long rows may wait: on object storage each flush is a paid request, in a folder it is nearly free."""
    return 0.5 if objects.is_local else 5.0


class Writer(Protocol):
    """The run's one writer, here or in an actor."""

    def set_control(self, control: dict[str, Any]) -> None:
        """Says something to all senders with their next acknowledgement."""
        ...

    def progress(self) -> Progress:
        """What has come in so far."""
        ...

    def close(self) -> None:
        """Flushes."""
        ...


@dataclass(frozen=True)
class Stop:
    """Why a run ends before its work is done.

    Attributes:
        reason: In words.
        exit_code: What the run's command ends with.
        superseded: A later claim owns the run; nothing may be written any more.
    """

    reason: str
    exit_code: ExitCode = ExitCode.STOPPED
    superseded: bool = False


class Claim:
    """One claim while its driver lives.

    Args:
        objects: The store.
        fence: The claim.
        job: Its job.
        writer: Where rows and progress are.
        say: Takes a line for the driver's log.
    """

    def __init__(self, objects: Objects, fence: Fence, job: Job, writer: Writer, say: Callable[[str], None]) -> None:
        self.objects, self.fence, self.job, self.writer, self.say = objects, fence, job, writer, say
        self.stop: Stop | None = None
        self.began = time.monotonic()
        self._state, self._attempt, self._message = "PENDING", 0, "starting"
        self._running_since: float | None = None
        self._counter = 0
        self._promise = float(os.environ.get("DLCLUSTER_HEARTBEAT_SECONDS", HEARTBEAT_SECONDS))
        # Where a write is free, those who look see more of the run.
        self._pause = min(self._promise, 2.0) if objects.is_local else self._promise
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="claim", daemon=True)

    def __enter__(self) -> Claim:
        """Starts the heartbeat."""
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the heartbeat; `finish` says what comes of the run."""
        self._ended.set()
        self._wake.set()
        self._thread.join()

    @property
    def gpu_seconds(self) -> float:
        """GPU time used so far."""
        since = self._running_since
        seconds = 0.0 if since is None else time.monotonic() - since
        return seconds * self.job.resources.num_workers * self.job.resources.gpus_per_worker

    def set(self, state: str, *, attempt: int | None = None, message: str | None = None) -> None:
        """Changes what the run's state says, at once."""
        with self._lock:
            self._state, self._message = state, message or ""
            if attempt is not None:
                self._attempt = attempt
            if state == "RUNNING" and self._running_since is None:
                self._running_since = time.monotonic()
        self._wake.set()

    def end(self, stop: Stop) -> None:
        """Asks all workers to stop; the first reason counts."""
        with self._lock:
            if self.stop is not None:
                return
            self.stop = stop
        self.say(f"stopping: {stop.reason}")
        with contextlib.suppress(Exception):  # a writer that is gone has no workers to tell
            self.writer.set_control({"stop": stop.reason})

    def end_from_signal(self, stop: Stop) -> None:
        """The same from a signal's handler, which may have interrupted whoever holds a lock."""
        threading.Thread(target=self.end, args=(stop,), name="signal").start()

    def finish(self, state: str, reason: str | None) -> None:
        """Writes the last state, for those who read it rather than the commit."""
        self._state, self._message = state, reason or ""
        with contextlib.suppress(StoreError):
            self._beat()

    def _keep(self) -> None:
        last_beat = time.monotonic()
        away = False
        while not self._ended.is_set():
            woken = self._wake.wait(timeout=min(_STOP_POLL_SECONDS, self._pause))
            self._wake.clear()
            if self._ended.is_set():
                return
            self._check_limits()
            try:
                request = stop_requested(self.objects, self.fence.run_id, self.fence.n)
                if request is not None:
                    self.end(Stop(f"stopped by {request.by}" + (f": {request.reason}" if request.reason else "")))
                if woken or time.monotonic() - last_beat >= self._pause:
                    last_beat = time.monotonic()
                    if newest_fence(self.objects, self.fence.run_id) > self.fence.n:
                        self.end(Stop("a later claim owns this run now", ExitCode.UNREACHABLE, superseded=True))
                        return
                    self._beat()
                away = False
            except StoreError as error:
                if not away:
                    self.say(f"the store does not answer ({error.message}); rows wait")
                away = True

    def _check_limits(self) -> None:
        limits, now = self.job.limits, time.monotonic()
        if self._state == "PENDING" and limits.max_wait is not None and now - self.began > limits.max_wait:
            self.end(Stop(f"waited longer than limits.max_wait ({limits.max_wait:g} s)", ExitCode.LIMIT))
        since = self._running_since
        if since is not None and limits.max_duration is not None and now - since > limits.max_duration:
            self.end(Stop(f"limits.max_duration of {limits.max_duration:g} s reached", ExitCode.LIMIT))
        if limits.gpu_hours is not None and self.gpu_seconds / 3600 > limits.gpu_hours:
            self.end(Stop(f"limits.gpu_hours of {limits.gpu_hours:g} reached", ExitCode.LIMIT))

    def _beat(self) -> None:
        progress = None
        with contextlib.suppress(Exception):  # before the writer is up, and after it died, there is none
            progress = self.writer.progress()
        row = (progress.latest if progress else None) or {}
        with self._lock:
            self._counter += 1
            message = self._message
            if progress is not None and progress.store_error:
                message = f"rows wait: {progress.store_error}"
            state = RunState(
                state=self._state,
                reason=message or None,
                owner="driver",
                counter=self._counter,
                heartbeat_seconds=self._promise,
                attempt=self._attempt,
                epoch=int(row.get("epoch") or 0),
                num_epochs=self.job.training.epochs if isinstance(self.job, TrainJob) else 0,
                metric=self.job.checkpoint.metric if isinstance(self.job, TrainJob) else None,
                dashboard=self.fence.address,
            )
        write_state(self.objects, self.fence.run_id, self.fence.n, state)
