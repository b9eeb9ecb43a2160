"""Runs attempts of a trial that needs several workers: a fresh Ray Train worker group for each attempt."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from importlib import import_module
from typing import Any

from dlcluster.driver.actor import STOP_GRACE_SECONDS, died_words
from dlcluster.driver.claim import Claim
from dlcluster.driver.worker import WorkerCall, WorkerFailed, train_function
from dlcluster.training.ended import Attempt, TrialEnded

_TELLING = ("bad_job", "user_error", "nan_loss", "out_of_memory")
"""Causes that explain the end of a group; a lost connection is what the other ranks see of them."""


class TrainRunner:
    """Runs attempts by Ray Train: it places the workers and sets up their process group; the rest is ours.

    Its own failure budget is zero and it is given a fresh folder each time: progress and retries are the
    driver's. Nothing is reported through it.

    Args:
        resources: The job's ``resources`` section.
    """

    def __init__(self, resources: Any) -> None:
        self.resources = resources
        self.call: dict[str, Any] = {}
        # Read by the controller, which takes them from this process; how soon a lost worker is noticed.
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "300")
        # What a worker prints is sent to the run's log by itself; Ray's own way would print it twice.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
        # Workers stay in the job's folder, where a user's relative paths mean what they say.
        os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")

    def run(self, attempt: Attempt, claim: Claim) -> TrialEnded:
        """Runs one attempt; a lost worker is an end like others, with its cause."""
        call = WorkerCall(attempt=attempt, **self.call)
        box: list[TrialEnded] = []
        thread = threading.Thread(target=lambda: box.append(self._fit(call)), name="train", daemon=True)
        thread.start()
        stopping_since: float | None = None
        running = False
        while thread.is_alive():
            thread.join(timeout=0.3)
            if not running and claim.writer.progress().counts.get("attempts"):  # the workers' first row: they are up
                running = True
                claim.set("RUNNING")
            if claim.stop is None:
                continue
            stopping_since = stopping_since or time.monotonic()
            if not running:  # still waiting for its workers
                return TrialEnded("STOPPED", "stopped", claim.stop.reason)
            if time.monotonic() - stopping_since > STOP_GRACE_SECONDS:
                # The group ends with this process, which owns it.
                return TrialEnded("STOPPED", "stopped", f"{claim.stop.reason}; killed after {STOP_GRACE_SECONDS:g} s")
        return box[0]

    def _fit(self, call: WorkerCall) -> TrialEnded:
        # Typed as what they are in Train V2; Ray's stubs still show V1.
        train: Any = import_module("ray.train")
        torch: Any = import_module("ray.train.torch")

        resources = self.resources
        per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
        if resources.gpus_per_worker:
            per_worker["GPU"] = resources.gpus_per_worker
        if resources.memory_per_worker:
            per_worker["memory"] = resources.memory_per_worker
        attempt = call.attempt
        try:
            with tempfile.TemporaryDirectory(prefix="dlcluster-train-") as folder:
                result = torch.TorchTrainer(
                    train_function,
                    train_loop_config={"call": call},
                    torch_config=torch.TorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo"),
                    scaling_config=train.ScalingConfig(
                        num_workers=resources.num_workers,
                        use_gpu=resources.gpus_per_worker > 0,
                        resources_per_worker=per_worker,
                        accelerator_type=resources.accelerator_type,
                    ),
                    run_config=train.RunConfig(
                        name=f"{attempt.run_id}-f{attempt.fence}-a{attempt.attempt}",
                        storage_path=folder,
                        failure_config=train.FailureConfig(max_failures=0, max_preemption_failures=0),
                        logging_config=train.LoggingConfig(log_level="WARNING"),
                    ),
                ).fit()
        except Exception as error:
            return failed(error)
        return TrialEnded(**result.return_value)


def failed(error: Exception) -> TrialEnded:
    """Finds the cause behind what Ray Train raised: the most telling of its workers' ends."""
    from ray.train import TrainingFailedError
    from ray.train.v2.api.exceptions import PreemptionError

    if isinstance(error, PreemptionError):
        return TrialEnded("FAILED", "preemption", "a worker's node was preempted")
    failures = getattr(error, "worker_failures", {})
    ends = [end for end in (_worker_end(failure) for failure in failures.values()) if end is not None]
    for cause in _TELLING:
        for end in ends:
            if end.cause == cause:
                return end
    if not isinstance(error, TrainingFailedError):
        return TrialEnded("FAILED", "infrastructure", f"{type(error).__name__}: {died_words(error)}")
    lost = [
        f"worker {rank} died: {died_words(failure)}"
        for rank, failure in sorted(failures.items())
        if _worker_end(failure) is None
    ]
    words = lost[0] if lost else ends[0].reason if ends else died_words(error)
    return TrialEnded("FAILED", "infrastructure", words)


def _worker_end(failure: BaseException) -> TrialEnded | None:
    """Looks through Ray's wrappers for our own exception."""
    seen: BaseException | None = failure
    for _ in range(5):
        if seen is None:
            return None
        if isinstance(seen, WorkerFailed):
            return seen.ended
        seen = getattr(seen, "cause", None) or getattr(seen, "_base_exc", None) or seen.__cause__
    return None
