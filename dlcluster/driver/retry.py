"""Whether to try again: a budget by kind of failure, since a typo and a dead node are not the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlcluster.spec.job import Retry

NEVER_AGAIN = frozenset({"user_error", "bad_job", "nan_loss", "stopped"})
"""What a second try would meet again."""


@dataclass
class Budget:
    """How often a trial may still be started again.

    Attributes:
        spec: The job's ``retry`` section; -1 means without limit.
        failures: Failures of the machine so far.
        preemptions: Times the machine was taken away so far.
    """

    spec: Retry
    failures: int = 0
    preemptions: int = 0

    def allows(self, cause: str | None) -> bool:
        """Counts one failure and says whether to start again."""
        if cause is None or cause in NEVER_AGAIN:
            return False
        if cause == "out_of_memory":
            return False  # retry.oom is fail: the same batch would not fit a second time
        if cause == "preemption":
            self.preemptions += 1
            return self.spec.max_preemptions < 0 or self.preemptions <= self.spec.max_preemptions
        self.failures += 1
        return self.spec.max_failures < 0 or self.failures <= self.spec.max_failures

    def words(self) -> str:
        """What was used up, for the reason of a run that gave up."""
        limit = self.spec.max_failures
        return f"failed {self.failures} times (retry.max_failures: {limit})" if self.failures > limit >= 0 else ""
