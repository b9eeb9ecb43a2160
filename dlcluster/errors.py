"""Every error a user can meet, and the exit code it ends the command with.

DlclusterError                 1
├── UsageError                 2   a wrong option, name or combination
│   ├── JobFileError           2   the job file, every fault in it at once
│   └── RunNotFound            2   no run of that name, or several
├── ComponentError             2   a model, data set, loss or metric that does not fit the job
│   └── DataError              2   the data itself: missing values, a split too small, a wrong column
├── UnreachableError           3   something outside this process did not answer
│   ├── ClusterError           3   the Ray cluster: away, refusing, or not able to run the job
│   └── StoreError             3   the store: away, refusing, or not what it should be
│       ├── ObjectNotFound     3   an object that should be there is not
│       └── Superseded         3   a later claim owns the run now
└── RunEnded                   -   a run that ended otherwise than well; carries the run's own code
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command ends with; scripts rely on these."""

    SUCCEEDED = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    LIMIT = 4
    REGRESSION = 5
    STOPPED = 6
    INTERRUPTED = 130


class DlclusterError(Exception):
    """Base of all errors whose message is meant for the user.

    Args:
        message: What was wrong, and where.
        hint: What to do instead; printed on a line of its own.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(DlclusterError):
    """A wrong option, name or combination of settings."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a job file.

    Attributes:
        where: ``jobs/x.yaml:12`` or ``--set``; the place a user can go to.
        key: Dotted path such as ``training.epochs``; empty for the file as a whole.
        message: What is wrong and what to write instead.
    """

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


class JobFileError(UsageError):
    """A job file with faults, all of them listed."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class RunNotFound(UsageError):
    """No run has that id, or several begin with it."""


class ComponentError(DlclusterError):
    """A model, data set, loss or metric that cannot be found or does not fit the job."""

    exit_code = ExitCode.USAGE


class DataError(ComponentError):
    """Data that cannot be used as the job file asks."""


class UnreachableError(DlclusterError):
    """Something outside this process did not answer."""

    exit_code = ExitCode.UNREACHABLE


class ClusterError(UnreachableError):
    """The Ray cluster is away, refuses, or cannot run the job."""


class StoreError(UnreachableError):
    """The store is away, refuses, or is not what it should be."""


class ObjectNotFound(StoreError):
    """An object that should be in the store is not there."""


class Superseded(StoreError):
    """A later claim owns the run now; this one must stop writing."""


class RunEnded(DlclusterError):
    """A run that failed, was stopped or met a limit.

    Args:
        message: The run's reason, in words.
        exit_code: The run's own exit code.
    """

    def __init__(self, message: str, exit_code: ExitCode, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
