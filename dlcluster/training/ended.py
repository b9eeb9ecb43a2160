"""What is handed to a worker and what comes back: plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcluster.spec import TrainJob


@dataclass(frozen=True)
class Attempt:
    """Which try at which trial to run.

    Attributes:
        job: With this trial's values in it.
        run_id: The run.
        trial_id: The trial.
        fence: The claim this process works for.
        attempt: From 1 within the claim.
        threads: CPU threads torch may use.
    """

    job: TrainJob
    run_id: str
    trial_id: str
    fence: int
    attempt: int
    threads: int = 1


@dataclass(frozen=True)
class TrialEnded:
    """How an attempt ended.

    Attributes:
        state: ``SUCCEEDED``, ``STOPPED`` or ``FAILED``.
        cause: ``user_error``, ``bad_job``, ``nan_loss``, ``out_of_memory``, ``infrastructure``, ``preemption``,
            ``stopped`` or None.
        reason: In words, for people.
        details: A traceback of the user's code, for the log.
        row: Columns of the trials table.
    """

    state: str
    cause: str | None = None
    reason: str | None = None
    details: str | None = None
    row: dict[str, Any] = field(default_factory=dict)
