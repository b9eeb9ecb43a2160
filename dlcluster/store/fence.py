"""Claims on a run: who may write it, with which spec, and since when."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dlcluster.errors import ObjectNotFound, StoreError, Superseded
from dlcluster.store import keys
from dlcluster.store.objects import Objects
from dlcluster.store.probe import prepare

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")


def new_run_id(name: str, *, now: datetime) -> str:
    """Name a run so that the newest sorts last: ``20261121-093000-lstm-co2-7f3a``.

    Args:
        name: The job's name.
        now: The time of the submit, with its zone.
    """
    if not _NAME.fullmatch(name):
        raise StoreError(f"{name!r} cannot name a run: use a-z, 0-9 and dashes within")
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{name}-{token_hex(2)}"


def submission_id(run_id: str, n: int) -> str:
    """Ray's name for claim ``n``: the run's own for the first, as Ray refuses a name twice."""
    return run_id if n == 1 else f"{run_id}.{n}"


class Fence(BaseModel):
    """One claim on a run, put once by the client and never changed.

    Attributes:
        n: Counts from 1; the highest owns the run.
        job: The resolved job file.
        submitted_at: When the run was first submitted (the same in all its fences): its tables' date.
        created_at: When this claim was made.
        submission_id: The name of the Ray job.
        address: The dashboard of the cluster it was sent to.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    n: int = Field(ge=1)
    action: Literal["submit", "resume", "extend", "stop"]
    job: dict[str, Any]
    num_trials_expected: int = 1
    code_sha256: str | None = None
    submitted_at: datetime
    created_at: datetime
    created_by: str
    submission_id: str
    address: str | None = None
    warnings: list[str] = []

    @field_validator("run_id")
    @classmethod
    def _within_its_prefix(cls, value: str) -> str:
        if not _RUN_ID.fullmatch(value):
            raise ValueError("a run id has letters, digits, - and _ only")
        return value

    @field_validator("submitted_at", "created_at")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def claim(objects: Objects, fence: Fence) -> Fence:
    """Claim a run; the first claim of a run creates it.

    Raises:
        Superseded: Somebody else has that claim.
        StoreError: The store refuses writes.
    """
    prepare(objects)
    # The marker first: a fence without one would be missing from every list until it is sealed.
    objects.put(keys.marker(fence.run_id, fence.n), b"")
    if not objects.put_if_absent(keys.fence(fence.run_id, fence.n), fence.model_dump_json(indent=1).encode()):
        raise Superseded(
            f"run {fence.run_id}: claim {fence.n} was made by somebody else just now",
            hint=f"dlcluster show {fence.run_id}",
        )
    return fence


def read_fence(objects: Objects, run_id: str, n: int) -> Fence:
    """Read claim ``n``.

    Raises:
        ObjectNotFound: There is no such claim.
        StoreError: It is not readable as one.
    """
    try:
        data = objects.get(keys.fence(run_id, n))
    except ObjectNotFound:
        raise ObjectNotFound(f"run {run_id} has no claim {n} in {objects.uri}") from None
    try:
        return Fence.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(f"{objects.locate(keys.fence(run_id, n))} is not a claim on a run: {error}") from error


def newest_fence(objects: Objects, run_id: str) -> int:
    """The number of the run's newest claim, 0 if there is none."""
    return max(numbers(objects, keys.fences(run_id)), default=0)


def numbers(objects: Objects, prefix: str) -> list[int]:
    """The n of every ``<prefix><n>.json``, ascending."""
    found = (re.fullmatch(r"([1-9][0-9]*)\.json", info.key[len(prefix) :]) for info in objects.list(prefix))
    return sorted(int(match[1]) for match in found if match)
