"""Runs a claim in this process, without Ray: a debugger works, and the store gets the same rows."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from dlcluster.driver.check import check_components
from dlcluster.driver.claim import Claim, Stop, flush_seconds
from dlcluster.driver.train import run_claim
from dlcluster.errors import ExitCode, StoreError
from dlcluster.spec import PredictJob
from dlcluster.store.sender import Sender
from dlcluster.store.writer import Ack, RunWriter
from dlcluster.training.ended import Attempt, TrialEnded

if TYPE_CHECKING:
    from dlcluster.spec import Job
    from dlcluster.store.fence import Fence
    from dlcluster.store.objects import Objects
    from dlcluster.store.schema import Row


def pusher(writer: RunWriter) -> Callable[[str, int, list[Row], bool], Ack]:
    """How a sender in the same process reaches the writer."""

    def push(sender: str, first_seq: int, rows: list[Row], flush: bool) -> Ack:
        return writer.push(sender, first_seq, rows, flush=flush)

    return push


class _LocalRunner:
    """Runs attempts right here; what they print goes where it always goes."""

    def __init__(self, objects: Objects, writer: RunWriter, say: Callable[[str], None]) -> None:
        self.objects, self.writer, self.say = objects, writer, say

    def run(self, attempt: Attempt, claim: Claim) -> TrialEnded:
        import torch

        from dlcluster.training.ranks import Ranks
        from dlcluster.training.trial import run_attempt

        claim.set("RUNNING")
        gpu = attempt.job.resources.gpus_per_worker > 0 and torch.cuda.is_available()
        sender = Sender(pusher(self.writer), f"{attempt.trial_id}-a{attempt.attempt}-r0")

        def stop() -> str | None:
            return claim.stop.reason if claim.stop is not None else None

        def say(line: str) -> None:
            sender.log("worker-0", line)
            self.say(line)

        ended = run_attempt(
            attempt,
            objects=self.objects,
            ranks=Ranks(device=torch.device("cuda:0" if gpu else "cpu")),
            send=sender.send,
            stop=stop,
            say=say,
        )
        sender.close()
        return ended


def run_local(
    objects: Objects,
    fence: Fence,
    job: Job,
    *,
    folder: Path,
    env: Mapping[str, str],
    say: Callable[[str], None],
) -> ExitCode:
    """Runs a claim in this process until it is sealed.

    Args:
        objects: The store.
        fence: The claim.
        job: Its job.
        folder: Where the user's own modules are.
        env: Environment variables of the job, secrets included.
        say: Takes a line for people.
    """
    os.environ.update(env)
    sys.path.insert(0, str(folder))
    writer = RunWriter(objects, fence.run_id, fence.n, flush_seconds=flush_seconds(objects))
    sender = Sender(pusher(writer), "driver", say=say)

    def log(text: str) -> None:
        with contextlib.suppress(StoreError):
            sender.log("driver", text)

    def log_and_say(line: str) -> None:
        log(line)
        say(line)

    def on_claim(claim: Claim) -> None:
        def interrupt(number: int, frame: FrameType | None) -> None:
            del number, frame
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a second one ends it the hard way
            claim.end_from_signal(Stop("stopped by Ctrl-C"))

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)

    if isinstance(job, PredictJob):
        from dlcluster.driver.predict import run_prediction
        from dlcluster.driver.predict_here import HereRunner

        return run_prediction(
            objects,
            fence,
            job,
            writer=writer,
            sender=sender,
            runner=HereRunner(gpu=job.resources.gpus_per_worker > 0),
            say=log_and_say,
            log=log,
            on_claim=on_claim,
        )
    return run_claim(
        objects,
        fence,
        job,
        writer=writer,
        sender=sender,
        runner=_LocalRunner(objects, writer, say),
        check=lambda: check_components(job),
        say=log_and_say,
        log=log,
        on_claim=on_claim,
    )
