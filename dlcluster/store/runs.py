"""Readers of runs: how one run stands, the newest, and which run somebody means. No Parquet is read here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dlcluster.errors import ExitCode, ObjectNotFound, RunNotFound, StoreError
from dlcluster.store import keys
from dlcluster.store.commit import Commit, newest_commit, read_commit
from dlcluster.store.fence import Fence, newest_fence, read_fence
from dlcluster.store.objects import Objects
from dlcluster.store.sealing import fence_row
from dlcluster.store.state import RunState, is_lost, missed_beats, read_state

_WINDOWS = (timedelta(hours=2), timedelta(days=1), timedelta(days=8), timedelta(days=64), timedelta(days=730))
_RESTARTS = 5


@dataclass(frozen=True)
class RunView:
    """How a run stands.

    Attributes:
        fence: Its newest claim; None in listings of sealed runs, which do not read it.
        exit_code: Set once the run is sealed, or its driver is lost.
        sealed: Whether its newest claim has committed: state and results are final until it is resumed.
        partial: Whether its results are those of shards and earlier claims so far.
        age: Seconds since the last heartbeat of an unsealed run.
        run: A row of ``runs``, as complete as it is known.
        progress: What the owner of an unsealed run last said.
    """

    run_id: str
    fence: Fence | None
    state: str
    reason: str | None
    exit_code: int | None
    sealed: bool
    partial: bool
    age: float | None
    run: dict[str, Any]
    progress: RunState | None


def view(objects: Objects, run_id: str) -> RunView:
    """Read how a run stands.

    Raises:
        RunNotFound: There is no such run.
    """
    for _ in range(_RESTARTS):
        try:
            found = _view(objects, run_id)
        except ObjectNotFound:  # it changed between two requests
            continue
        if found is None:
            raise RunNotFound(f"there is no run {run_id} in {objects.uri}", hint="dlcluster list")
        return found
    raise StoreError(f"run {run_id} in {objects.uri} changes faster than it can be read, or something of it is missing")


def _view(objects: Objects, run_id: str) -> RunView | None:
    # The fence before the commits: a claim seen here may be sealed by then, and is shown so.
    n = newest_fence(objects, run_id)
    commit = newest_commit(objects, run_id)
    if commit is not None and commit.n >= n:
        return _sealed(commit, read_fence(objects, run_id, n) if n else None)
    if not n:
        return None
    fence = read_fence(objects, run_id, n)
    row = fence_row(fence)
    if commit is not None and commit.run is not None:
        row = commit.run | {name: value for name, value in row.items() if value is not None}
        row |= {"ended_at": None}
    found = read_state(objects, run_id, n)
    if found is None:
        state, age = RunState(state="PENDING", owner="client"), None
    else:
        state, age = found
    shown, reason, exit_code = str(state.state), state.reason, None
    if age is not None and missed_beats(state, age):
        shown, exit_code = "FAILED", int(ExitCode.FAILED)
        what = "driver lost" if is_lost(state, age) else f"driver lost before the run was sealed as {state.state}"
        reason = f"{what} (no heartbeat for {age:.0f} s); dlcluster resume {run_id}"
    row |= {"state": shown, "reason": reason, "exit_code": exit_code}
    row |= {"metric": state.metric or row["metric"], "num_epochs": row["num_epochs"] or state.epoch or None}
    if state.best is not None:
        row["best_value"] = state.best
    return RunView(
        run_id=run_id,
        fence=fence,
        state=shown,
        reason=reason,
        exit_code=exit_code,
        sealed=False,
        partial=True,
        age=age,
        run=row,
        progress=None if found is None else state,
    )


def _sealed(commit: Commit, fence: Fence | None) -> RunView:
    row = commit.run or {}
    return RunView(
        run_id=commit.run_id,
        fence=fence,
        state=str(row.get("state")),
        reason=row.get("reason"),
        exit_code=row.get("exit_code"),
        sealed=True,
        partial=False,
        age=None,
        run=row,
        progress=None,
    )


def newest(objects: Objects, limit: int = 100) -> list[RunView]:
    """The newest runs, newest first: two listings or few more, and one request per sealed run.

    Args:
        objects: Where.
        limit: How many.
    """
    opened: dict[str, int] = {}
    for info in objects.list("open/"):
        run_id, _, n = info.key[len("open/") :].rpartition(".")
        if n.isdigit():
            opened[run_id] = max(int(n), opened.get(run_id, 0))
    sealed: dict[str, int] = {}
    for window in _backwards(objects):
        sealed.update(window)
        # Markers without a fence may fall out below, so ask for as many sealed runs as are wanted.
        if len(sealed) >= limit:
            break
    views: list[RunView] = []
    candidates = sorted(sealed.keys() | opened.keys(), reverse=True)
    while candidates and len(views) < limit:
        batch, candidates = candidates[: limit - len(views)], candidates[limit - len(views) :]
        found = objects.map(
            lambda run_id: _listed(objects, run_id, sealed.get(run_id, 0), opened.get(run_id, 0)), batch
        )
        views.extend(one for one in found if one is not None)
    return views


def _listed(objects: Objects, run_id: str, sealed: int, opened: int) -> RunView | None:
    if sealed >= opened:
        try:
            commit = read_commit(objects, run_id, sealed)
            if not commit.tombstone:
                return _sealed(commit, None)
        except ObjectNotFound:
            pass
    try:
        return view(objects, run_id)
    except RunNotFound:  # a marker whose claim was never made, or a run that was deleted just now
        return None


def _backwards(objects: Objects) -> Iterator[dict[str, int]]:
    """Runs with commits, from the newest on in windows of time that grow, each with its highest commit."""
    now, end = datetime.now(UTC), ""
    for start in [*((now - window).strftime("%Y%m%d-%H%M%S") for window in _WINDOWS), ""]:
        found: dict[str, int] = {}
        for info in objects.list("commits/", start_after=f"commits/{start}" if start else ""):
            run_id, _, name = info.key[len("commits/") :].partition("/")
            if end and run_id >= end:
                break
            number = name.removesuffix(".json")
            if number.isdigit():
                found[run_id] = max(int(number), found.get(run_id, 0))
        end = start
        yield found


def resolve(objects: Objects, ref: str) -> str:
    """Find the run that somebody means.

    Args:
        objects: Where.
        ref: ``latest``, a run id, or the beginning of exactly one.

    Raises:
        RunNotFound: None or several; names those that are near.
    """
    if ref == "latest":
        for run_id in _latest(objects):
            return run_id
        raise RunNotFound(f"there is no run in {objects.uri} yet", hint="dlcluster submit jobs/lstm.yaml")
    try:
        keys.check_segment(ref, "run id")
    except StoreError:
        raise RunNotFound(f"{ref!r} is no run id", hint="dlcluster list") from None
    found = [run_id for run_id in objects.list_folders(f"runs/{ref}") if newest_fence(objects, run_id)]
    if ref in found or len(found) == 1:
        return ref if ref in found else found[0]
    if found:
        some = ", ".join(found[-5:])
        raise RunNotFound(f"{len(found)} runs in {objects.uri} begin with {ref!r}", hint=f"the newest: {some}")
    known = list(objects.list_folders("runs/"))
    near = difflib.get_close_matches(ref, known, n=3, cutoff=0.6)
    near += [run_id for run_id in reversed(known) if ref in run_id and run_id not in near][:3]
    raise RunNotFound(
        f"there is no run {ref!r} in {objects.uri}",
        hint=f"did you mean {', '.join(near)}?" if near else "dlcluster list",
    )


def _latest(objects: Objects) -> Iterator[str]:
    now = datetime.now(UTC)
    for start in [*((now - window).strftime("%Y%m%d-%H%M%S") for window in _WINDOWS), ""]:
        for run_id in reversed(list(objects.list_folders("runs/", start_after=start))):
            if newest_fence(objects, run_id):
                yield run_id
