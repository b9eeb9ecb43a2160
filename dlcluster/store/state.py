"""A run's state while it goes: the heartbeat, and the request to stop."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dlcluster.errors import ObjectNotFound, StoreError
from dlcluster.store import keys
from dlcluster.store.objects import Objects

State = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_MISSED_BEATS = 6


class RunState(BaseModel):
    """What the owner of a claim last said about it.

    Attributes:
        owner: Who overwrites it: the client until the driver runs, the queue while it waits.
        counter: Grows with each write; two equal ones are one write.
        heartbeat_seconds: How often the owner promises to write.
        num_epochs: Planned.
        best: Best value of ``metric`` so far.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: State
    reason: str | None = None
    owner: Literal["client", "queue", "driver"]
    counter: int = 0
    heartbeat_seconds: float = 10.0
    attempt: int = 0
    epoch: int = 0
    num_epochs: int = 0
    best: float | None = None
    metric: str | None = None
    dashboard: str | None = None
    message: str | None = None


class StopRequest(BaseModel):
    """Somebody asks claim ``n`` of a run to stop."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    n: int
    by: str
    reason: str
    at: datetime


def write_state(objects: Objects, run_id: str, n: int, state: RunState) -> None:
    """Overwrite the state of claim ``n``; only its owner may."""
    objects.put(keys.state(run_id, n), state.model_dump_json().encode())


def read_state(objects: Objects, run_id: str, n: int) -> tuple[RunState, float] | None:
    """The state of claim ``n`` and its age in seconds by the store's clock, None if nobody wrote one."""
    key = keys.state(run_id, n)
    try:
        data, age = objects.get_with_age(key)
    except ObjectNotFound:
        return None
    try:
        return RunState.model_validate_json(data), age
    except ValidationError as error:
        raise StoreError(f"{objects.locate(key)} is not a run's state: {error}") from error


def is_lost(state: RunState, age: float) -> bool:
    """Whether the driver that wrote this is gone: six heartbeats missed before any end."""
    return state.state not in TERMINAL and missed_beats(state, age)


def missed_beats(state: RunState, age: float) -> bool:
    """Whether a driver has not written for six heartbeats."""
    return state.owner == "driver" and age > _MISSED_BEATS * state.heartbeat_seconds


def request_stop(objects: Objects, run_id: str, n: int, *, by: str, reason: str) -> None:
    """Ask claim ``n`` to stop."""
    request = StopRequest(n=n, by=by, reason=reason, at=datetime.now(UTC))
    objects.put(keys.stop(run_id), request.model_dump_json().encode())


def stop_requested(objects: Objects, run_id: str, n: int) -> StopRequest | None:
    """The request to stop claim ``n``; one for an earlier claim does not count."""
    try:
        data = objects.get(keys.stop(run_id))
    except ObjectNotFound:
        return None
    try:
        request = StopRequest.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(f"{objects.locate(keys.stop(run_id))} is not a request to stop: {error}") from error
    return request if request.n >= n else None
