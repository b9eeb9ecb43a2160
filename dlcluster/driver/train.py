"""Runs a claim on a training job: attempts until it succeeds or may not be tried again, then the seal."""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dlcluster.data.load import data_fingerprint
from dlcluster.driver.claim import Claim, Stop, Writer
from dlcluster.driver.environment import environment_row
from dlcluster.driver.retry import Budget
from dlcluster.errors import ComponentError, DlclusterError, ExitCode, StoreError, Superseded
from dlcluster.store.commit import Outcome, seal
from dlcluster.training.ended import Attempt, TrialEnded
from dlcluster.tuning.trials import Trial, train_trial

if TYPE_CHECKING:
    from dlcluster.spec import TrainJob
    from dlcluster.store.fence import Fence
    from dlcluster.store.objects import Objects
    from dlcluster.store.sender import Sender

SEAL_WITHIN_SECONDS = 3600.0
SEAL_PAUSE_SECONDS = 5.0


class Runner(Protocol):
    """How one attempt is run: an actor, several Ray Train workers, or this process."""

    def run(self, attempt: Attempt, claim: Claim) -> TrialEnded:
        """Runs one attempt until it ends, is lost, or does not stop when asked to."""
        ...


def run_claim(
    objects: Objects,
    fence: Fence,
    job: TrainJob,
    *,
    writer: Writer,
    sender: Sender,
    runner: Runner,
    check: Callable[[], None],
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
        sender: For the driver's own rows.
        runner: How attempts are run.
        check: Checks components before a worker starts; raises ComponentError.
        say: Takes a line for the driver's log, and for whoever watches.
        log: Takes text for the log alone.
        on_claim: Is given the claim once its heartbeat runs, to stop it by a signal.

    Returns:
        The run's exit code.
    """
    started_at = datetime.now(UTC)
    with Claim(objects, fence, job, writer, say) as claim:
        on_claim(claim)
        trial: Trial | None = None
        try:
            sender.send("environments", environment_row())
            check()
            trial = train_trial(job, data_fingerprint(job.data))
            ended = _attempts(claim, trial, runner, sender.send, log)
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
        if trial is not None:
            sender.send("trials", _trial_row(trial, ended, started_at, claim))
        state, reason, code = verdict(ended, stop)
        say(f"{state}{f': {reason}' if reason else ''}")
        outcome = Outcome(
            state=state,
            reason=reason,
            exit_code=int(code),
            started_at=started_at,
            ended_at=datetime.now(UTC),
            metric=job.checkpoint.metric,
            mode=job.checkpoint.mode,
            best_trial_id=trial.trial_id if trial else None,
            best_value=ended.row.get("best_value"),
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


def _attempts(
    claim: Claim,
    trial: Trial,
    runner: Runner,
    send: Callable[[str, dict[str, Any]], None],
    log: Callable[[str], None],
) -> TrialEnded:
    """Tries until a try succeeds or there may be no other."""
    budget, number = Budget(claim.job.retry), 0
    while True:
        number += 1
        began = datetime.now(UTC)
        claim.set("PENDING" if number == 1 else "RUNNING", attempt=number, message="waiting for resources")
        attempt = Attempt(
            job=trial.job,
            run_id=claim.fence.run_id,
            trial_id=trial.trial_id,
            fence=claim.fence.n,
            attempt=number,
            threads=max(1, int(claim.job.resources.cpus_per_worker)),
        )
        ended = runner.run(attempt, claim)
        now = datetime.now(UTC)
        row = {
            "trial_id": trial.trial_id,
            "attempt": number,
            "ended_at": now,
            "duration_seconds": (now - began).total_seconds(),
            "state": ended.state,
            "cause": ended.cause,
            "message": ended.reason,
        }
        send("attempts", row)
        if ended.details:
            log(ended.details)
        if ended.state != "FAILED" or claim.stop is not None or not budget.allows(ended.cause):
            words = budget.words()
            if ended.state == "FAILED" and words:
                return TrialEnded(ended.state, ended.cause, f"{words}; the last time: {ended.reason}", row=ended.row)
            return ended
        claim.say(f"attempt {number} ended: {ended.reason}; starting again from the newest checkpoint")


def verdict(ended: TrialEnded, stop: Stop | None) -> tuple[str, str | None, ExitCode]:
    """Returns state, reason and exit code of a run whose last attempt ended so.

    Args:
        ended: How it ended.
        stop: Why the run was to stop, if it was.
    """
    if ended.state == "SUCCEEDED":
        return "SUCCEEDED", ended.reason, ExitCode.SUCCEEDED
    if stop is not None:
        return "STOPPED", stop.reason, stop.exit_code
    if ended.state == "STOPPED":
        return "STOPPED", ended.reason, ExitCode.STOPPED
    return "FAILED", ended.reason, ExitCode.USAGE if ended.cause == "bad_job" else ExitCode.FAILED


def _trial_row(trial: Trial, ended: TrialEnded, started_at: datetime, claim: Claim) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "trial_id": trial.trial_id,
        "setting_id": trial.setting_id,
        "seed": trial.seed,
        "fold": trial.fold,
        "state": "STOPPED" if claim.stop is not None and ended.state != "SUCCEEDED" else ended.state,
        "reason": ended.reason,
        "started_at": started_at,
        "ended_at": now,
        "duration_seconds": (now - started_at).total_seconds(),
        "gpu_seconds": claim.gpu_seconds,
        "params": json.dumps(trial.params, sort_keys=True),
        **ended.row,
    }


def seal_patiently(
    objects: Objects, fence: Fence, outcome: Outcome, writer: Writer, say: Callable[[str], None]
) -> None:
    """Seals; with the store away for a while, waits for it rather than lose a run.

    Raises:
        Superseded: A later claim owns the run.
        StoreError: The store was away for an hour.
    """
    with contextlib.suppress(StoreError):  # nothing but a few lines of the log can still wait in it
        writer.close()
    deadline = time.monotonic() + SEAL_WITHIN_SECONDS
    while True:
        try:
            seal(objects, fence, outcome)
        except Superseded:
            raise
        except StoreError as error:
            if time.monotonic() > deadline:
                raise
            say(f"cannot seal the run yet: {error.message}")
            time.sleep(SEAL_PAUSE_SECONDS)
        else:
            return
