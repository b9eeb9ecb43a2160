"""Runs attempts of a trial that needs one worker: a Ray actor, a fresh one for each attempt."""

from __future__ import annotations

import re
import time
from typing import Any

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    GetTimeoutError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from dlcluster.driver.claim import Claim
from dlcluster.driver.worker import Worker, WorkerCall
from dlcluster.training.ended import Attempt, TrialEnded

STOP_GRACE_SECONDS = 40.0
"""How long workers have to stop by themselves: to finish a step and save a checkpoint."""


def actor_options(resources: Any) -> dict[str, Any]:
    """What a worker asks Ray for.

    Args:
        resources: The job's ``resources`` section.
    """
    options: dict[str, Any] = {
        "num_cpus": resources.cpus_per_worker,
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    if resources.gpus_per_worker:
        options["num_gpus"] = resources.gpus_per_worker
    if resources.memory_per_worker:
        options["memory"] = resources.memory_per_worker
    if resources.accelerator_type:
        options["accelerator_type"] = resources.accelerator_type
    return options


class ActorRunner:
    """Runs attempts in an actor.

    The first actor is asked for at once, so that it starts while the driver still reads and checks the job.

    Args:
        resources: The job's ``resources`` section.
    """

    def __init__(self, resources: Any) -> None:
        self._make = ray.remote(Worker).options(**actor_options(resources))
        self._actor: Any = self._make.remote()
        self.call: dict[str, Any] = {}

    def run(self, attempt: Attempt, claim: Claim) -> TrialEnded:
        """Runs one attempt; a lost worker is an end like others, with its cause."""
        actor: Any = self._actor or self._make.remote()
        self._actor = None
        ready, ended = actor.ready.remote(), actor.run.remote(WorkerCall(attempt=attempt, **self.call))
        try:
            return self._watch(ready, ended, claim)
        finally:
            done, _ = ray.wait([ended], timeout=0)
            if not done:  # one that has returned ends by itself; killed, it would be shown as failed
                ray.kill(actor)

    def _watch(self, ready: Any, ended: Any, claim: Claim) -> TrialEnded:
        waiting = [ready, ended]
        stopping_since: float | None = None
        while True:
            done, waiting = ray.wait(waiting, num_returns=1, timeout=0.5)
            if ready in done:
                claim.set("RUNNING")
                # A worker that died before it was ready shows the same in `ended`.
            if ended in done:
                return result_of(ended)
            if claim.stop is None:
                continue
            stopping_since = stopping_since or time.monotonic()
            if ready in waiting:
                return TrialEnded("STOPPED", "stopped", claim.stop.reason)
            if time.monotonic() - stopping_since > STOP_GRACE_SECONDS:
                return TrialEnded("STOPPED", "stopped", f"{claim.stop.reason}; killed after {STOP_GRACE_SECONDS:g} s")


def result_of(ref: Any) -> TrialEnded:
    """Gets what a worker returned, or says why it returned nothing."""
    try:
        ended: TrialEnded = ray.get(ref, timeout=60)
    except OutOfMemoryError as error:
        return TrialEnded("FAILED", "out_of_memory", f"the worker's node ran out of memory: {first_line(error)}")
    except ActorUnschedulableError as error:
        return TrialEnded("FAILED", "bad_job", f"no node can ever run this worker: {first_line(error)}")
    except ActorDiedError as error:
        if getattr(error, "preempted", False):
            return TrialEnded("FAILED", "preemption", "the worker's node was preempted")
        return TrialEnded("FAILED", "infrastructure", f"the worker died: {died_words(error)}")
    except (RayActorError, GetTimeoutError) as error:
        return TrialEnded("FAILED", "infrastructure", f"the worker was lost: {died_words(error)}")
    except RayTaskError as error:
        return TrialEnded("FAILED", "infrastructure", f"the worker failed: {last_line(error)}", details=str(error))
    except RayError as error:
        return TrialEnded("FAILED", "infrastructure", f"{type(error).__name__}: {first_line(error)}")
    return ended


def first_line(error: BaseException) -> str:
    """The first line of a message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def last_line(error: BaseException) -> str:
    """The last line of a message that says something: of a traceback, the error itself."""
    return first_line(RuntimeError("\n".join(reversed(str(error).splitlines()))))


def died_words(error: BaseException) -> str:
    """What Ray knows of a death, without its paragraph of advice."""
    text = " ".join(str(error).split())
    found = re.search(r"Worker exit detail: (.+?\.)(?: |$)", text)
    if found and "connection error" in found[1]:
        return "its process ended without a word (killed, out of memory, or crashed)"
    return found[1] if found else first_line(error).partition(" Some common causes")[0]
