"""Runs a claim on a job that predicts: what there is to read, attempts at what is not done yet, then the seal."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dlcluster.data.lines import How
from dlcluster.data.locate import File
from dlcluster.data.pieces import Piece, Scan, files_of, plan
from dlcluster.data.predictions import OutFolder
from dlcluster.driver.claim import Claim, Writer
from dlcluster.driver.environment import environment_row
from dlcluster.driver.retry import Budget
from dlcluster.driver.train import seal_patiently, verdict
from dlcluster.errors import ComponentError, DataError, DlclusterError, ExitCode, Superseded
from dlcluster.store.commit import Outcome
from dlcluster.training.ended import TrialEnded

if TYPE_CHECKING:
    from dlcluster.data.prepared import Preparation
    from dlcluster.driver.predictor import Work
    from dlcluster.spec import PredictJob
    from dlcluster.store.fence import Fence
    from dlcluster.store.objects import Objects
    from dlcluster.store.sender import Sender

_SAY_SECONDS = 10.0
_SHOW_SECONDS = 2.0
TRIAL = "predict"
"""What stands for a trial's id in the rows of a run that has none."""


@dataclass
class Progress:
    """What is done of a prediction; told by whoever runs it.

    Attributes:
        claim: Whose state shows it.
        total: Rows there are; None where that is not known.
        rows: Rows that are written, or on their way to it.
        done: Numbers of the pieces whose files are there.
    """

    claim: Claim
    total: int | None
    rows: int = 0
    done: set[int] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _said: float = field(default_factory=time.monotonic)

    def add(self, rows: int) -> None:
        """Counts rows, and shows them from time to time."""
        self.rows += rows
        now = time.monotonic()
        if now - self._shown >= _SHOW_SECONDS:
            self._shown = now
            self.claim.set("RUNNING", message=self.words)
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            self.claim.say(f"{self.words}, {self.rows / (now - self._began):,.0f} rows/s")

    @property
    def words(self) -> str:
        """Such as ``1,000 of 5,000 rows``."""
        return f"{self.rows:,} of {self.total:,} rows" if self.total is not None else f"{self.rows:,} rows"


class PredictRunner(Protocol):
    """Where pieces are predicted: by Ray Data on a cluster, or in this process."""

    def scan(self, files: Sequence[File], how: How) -> list[Scan]:
        """Looks through all files."""
        ...

    def run(self, work: Work, pieces: Sequence[Piece], progress: Progress) -> TrialEnded:
        """Predicts pieces until all are done, one fails, or the run is to stop; no pieces: a whole series."""
        ...


def run_prediction(
    objects: Objects,
    fence: Fence,
    job: PredictJob,
    *,
    writer: Writer,
    sender: Sender,
    runner: PredictRunner,
    say: Callable[[str], None],
    log: Callable[[str], None],
    on_claim: Callable[[Claim], None] = lambda _: None,
) -> ExitCode:
    """Runs a claim from its first heartbeat to its commit.

    Args:
        objects: The store.
        fence: The claim.
        job: Its job.
        writer: The run's writer.
        sender: For the driver's rows.
        runner: Where pieces are predicted.
        say: Takes a line for the driver's log, and for whoever watches.
        log: Takes text for the log alone.
        on_claim: Is given the claim once its heartbeat runs, to stop it by a signal.

    Returns:
        The run's exit code.
    """
    started_at = datetime.now(UTC)
    with Claim(objects, fence, job, writer, say) as claim:
        on_claim(claim)
        try:
            sender.send("environments", environment_row())
            ended = _predict(objects, claim, job, runner, sender, log)
        except DlclusterError as error:
            cause = "bad_job" if isinstance(error, ComponentError) else "infrastructure"
            ended = TrialEnded("FAILED", cause, str(error))
        except Exception as error:
            # A fault of ours must not leave a run that nobody ends: sealed, it can be seen and resumed.
            log(traceback.format_exc())
            ended = TrialEnded("FAILED", "infrastructure", f"the driver failed: {type(error).__name__}: {error}")
        stop = claim.stop
        if stop is not None and stop.superseded:
            say(stop.reason)
            return ExitCode.UNREACHABLE
        state, reason, code = verdict(ended, stop)
        say(f"{state}{f': {reason}' if reason else ''}")
        outcome = Outcome(
            state=state,
            reason=reason,
            exit_code=int(code),
            started_at=started_at,
            ended_at=datetime.now(UTC),
            gpu_seconds=claim.gpu_seconds,
        )
        try:
            sender.close()  # as long as it takes: with the store away, rows wait for it
            seal_patiently(objects, fence, outcome, writer, say)
        except Superseded as error:
            say(str(error))
            return ExitCode.UNREACHABLE
    claim.finish(state, reason)
    return code


def _predict(
    objects: Objects,
    claim: Claim,
    job: PredictJob,
    runner: PredictRunner,
    sender: Sender,
    log: Callable[[str], None],
) -> TrialEnded:
    from dlcluster.driver.predictor import stored_preparation

    out = OutFolder(job.predict.out, claim.fence.run_id)
    out.refuse_used()
    preparation = stored_preparation(objects, job.predict.run)
    work, pieces, total = _planned(objects, job, preparation, out, runner)
    claim.say(_plan_words(work, pieces, total))
    out.clear()
    progress = Progress(claim, total)
    ended = _attempts(claim, job, work, pieces, runner, progress, sender, log)
    if ended.state != "SUCCEEDED":
        return ended
    if not progress.rows:
        return TrialEnded("FAILED", "bad_job", f"predict.data: {job.predict.data} has no rows")
    out.succeed()
    row = {"trial_id": TRIAL, "name": "predictions", "kind": "parquet", "uri": out.uri, "created_at": datetime.now(UTC)}
    sender.send("artifacts", row)
    return TrialEnded("SUCCEEDED", None, f"{progress.rows:,} rows in {out.uri}")


def _planned(
    objects: Objects, job: PredictJob, preparation: Preparation, out: OutFolder, runner: PredictRunner
) -> tuple[Work, list[Piece], int | None]:
    """What is to be done, in pieces; a series is one, as each prediction needs the steps before it."""
    from dlcluster.driver.predictor import Work, first_rows

    kind: Any = preparation.kind
    params: Any = getattr(preparation, "params", None)
    files, format_ = files_of(job.predict.data, job.predict.format, kind)
    how = How(
        format_,
        header=getattr(params, "header", True),
        encoding=getattr(params, "encoding", "utf-8"),
        text=getattr(params, "text", "text"),
    )
    schema, pieces, total = None, list[Piece](), None
    if kind != "series":
        scans = runner.scan(files, how)
        schema, pieces = plan(scans, how)
        total = sum(each.rows for each in scans)
        if not total:
            raise DataError(f"predict.data: {job.predict.data} has no rows")
        first_rows(preparation, pieces[0], how, schema)
    threads = max(1, int(job.resources.cpus_per_worker))
    work = Work(objects.uri, job.predict.run, kind, job.predict.data, how, schema, out, job.predict.batch_size, threads)
    return work, pieces, total


def _plan_words(work: Work, pieces: Sequence[Piece], total: int | None) -> str:
    if total is None:
        return f"predicting {work.data} (a series, read whole) into {work.out.uri}"
    files = len({file.shown for piece in pieces for file in piece.files})
    return (
        f"predicting {total:,} rows of {files:,} {'file' if files == 1 else 'files'}, in {len(pieces):,} "
        f"{'piece' if len(pieces) == 1 else 'pieces'}, into {work.out.uri}"
    )


def _attempts(
    claim: Claim,
    job: PredictJob,
    work: Work,
    pieces: Sequence[Piece],
    runner: PredictRunner,
    progress: Progress,
    sender: Sender,
    log: Callable[[str], None],
) -> TrialEnded:
    """Tries until all pieces are done or there may be no other try; what is done stays done."""
    budget, number = Budget(job.retry), 0
    while True:
        number += 1
        began = datetime.now(UTC)
        claim.set("PENDING" if number == 1 else "RUNNING", attempt=number, message="waiting for resources")
        left = [piece for piece in pieces if piece.number not in progress.done]
        ended = runner.run(work, left, progress)
        now = datetime.now(UTC)
        row = {
            "trial_id": TRIAL,
            "attempt": number,
            "started_at": began,
            "ended_at": now,
            "duration_seconds": (now - began).total_seconds(),
            "state": ended.state,
            "cause": ended.cause,
            "message": ended.reason,
            "num_workers": job.resources.num_workers,
        }
        sender.send("attempts", row)
        if ended.details:
            log(ended.details)
        if ended.state != "FAILED" or claim.stop is not None or not budget.allows(ended.cause):
            words = budget.words()
            if ended.state == "FAILED" and words:
                return TrialEnded(ended.state, ended.cause, f"{words}; the last time: {ended.reason}")
            return ended
        claim.say(f"attempt {number} ended: {ended.reason}; starting again with what is not done")
