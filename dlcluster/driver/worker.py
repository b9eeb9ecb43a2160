"""A training process on the cluster: one Ray actor, or one of several Ray Train workers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlcluster.driver.output import Tee
from dlcluster.store.objects import open_objects
from dlcluster.store.sender import Sender
from dlcluster.training.ended import Attempt, TrialEnded

if TYPE_CHECKING:
    import torch

    from dlcluster.store.schema import Row
    from dlcluster.store.writer import Ack


@dataclass(frozen=True)
class WorkerCall:
    """All a worker process is told.

    Attributes:
        attempt: What to run.
        store: URI of the store.
        env: Environment variables to set before anything else is imported.
        secrets: Further ones, whose values are masked in what is printed.
        writer: Handle of the writer's actor.
    """

    attempt: Attempt
    store: str
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    writer: Any

    def __repr__(self) -> str:
        """Without values: Ray prints arguments in error messages."""
        return f"WorkerCall(run_id={self.attempt.run_id!r}, attempt={self.attempt.attempt})"


@contextlib.contextmanager
def _printing_to(sender: Sender, stream: str, secrets: Mapping[str, str]) -> Iterator[None]:
    out, err = sys.stdout, sys.stderr
    values = list(secrets.values())
    sys.stdout = Tee(out, lambda line: sender.log(stream, line), values)
    sys.stderr = Tee(err, lambda line: sender.log(stream, line), values)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def run_here(call: WorkerCall, *, rank: int, world: int, device: torch.device) -> TrialEnded:
    """Runs one attempt in this process and returns when its last row is durable.

    Args:
        call: What to run.
        rank: This process's number.
        world: Number of processes.
        device: Where it computes; it follows from the resources assigned.
    """
    import ray

    from dlcluster.training.ranks import Ranks
    from dlcluster.training.trial import run_attempt

    def push(sender: str, first_seq: int, rows: list[Row], flush: bool) -> Ack:
        return ray.get(call.writer.push.remote(sender, first_seq, rows, flush))  # type: ignore[no-any-return]

    attempt = call.attempt
    sender = Sender(push, f"{attempt.trial_id}-a{attempt.attempt}-r{rank}", say=_print)
    with _printing_to(sender, f"worker-{rank}", call.secrets):
        ended = run_attempt(
            attempt,
            objects=open_objects(call.store),
            ranks=Ranks(rank, world, device),
            send=sender.send,
            stop=lambda: sender.control.get("stop"),
            say=_print,
        )
    sender.close()  # as long as it takes: with the store away, rows wait for it
    return ended


def _print(line: str) -> None:
    print(line, flush=True)


def enter(call: WorkerCall) -> None:
    """Sets the job's environment; must come before torch or a user's code is imported."""
    os.environ.update(call.env)
    os.environ.update(call.secrets)


class Worker:
    """The actor behind a trial that needs one worker."""

    def __init__(self) -> None:
        # While the driver still reads and checks the job, this process loads what takes longest.
        import torch  # noqa: F401

    def run(self, call: WorkerCall) -> TrialEnded:
        """Runs one attempt."""
        enter(call)
        import ray
        import torch

        # Ray hides no GPU from an actor that asked for none, so what was assigned decides, not what is there.
        gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
        return run_here(call, rank=0, world=1, device=torch.device("cuda:0" if gpus else "cpu"))

    def ready(self) -> bool:
        """Answers once this process is up."""
        return True


def train_function(config: Mapping[str, Any]) -> dict[str, Any]:
    """What each of several Ray Train workers runs; returns a `TrialEnded` as plain data.

    Raises:
        WorkerFailed: When the attempt failed here; the others must not wait for this rank.
    """
    call: WorkerCall = config["call"]
    enter(call)
    import torch
    from ray import train
    from ray.train.torch import get_device

    context = train.get_context()
    gpu = call.attempt.job.resources.gpus_per_worker > 0
    ended = run_here(
        call,
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=get_device() if gpu else torch.device("cpu"),
    )
    if ended.state == "FAILED":
        raise WorkerFailed(ended)
    return dict(vars(ended))


class WorkerFailed(RuntimeError):
    """Carries how an attempt failed out of a Ray Train worker."""

    def __init__(self, ended: TrialEnded) -> None:
        super().__init__(ended.reason)
        self.ended = ended

    def __reduce__(self) -> tuple[type[WorkerFailed], tuple[TrialEnded]]:
        """Pickles with what it carries."""
        return WorkerFailed, (self.ended,)
