"""How runs end from outside: asked to stop, found dead, or never started."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dlcluster.cluster.jobs import Jobs, find_cluster
from dlcluster.errors import ClusterError, ExitCode
from dlcluster.store.commit import Outcome, seal
from dlcluster.store.fence import Fence, claim, submission_id
from dlcluster.store.state import request_stop

if TYPE_CHECKING:
    from dlcluster.store.objects import Objects
    from dlcluster.store.read import RunView

STOP_WAIT_SECONDS = 60.0


def settle(objects: Objects, fence: Fence, reason: str, code: ExitCode, *, state: str = "FAILED") -> None:
    """Seals a claim whose driver never ran, or is known to be dead."""
    now = datetime.now(UTC)
    seal(objects, fence, Outcome(state=state, reason=reason, exit_code=int(code), started_at=now, ended_at=now))


def dead_reason(view: RunView, objects: Objects) -> str | None:
    """Asks the cluster whether a run's driver is known to be dead.

    A driver that never came up is settled: its run is sealed as FAILED with what Ray says. One that died later
    is left to be resumed.

    Args:
        view: The run.
        objects: The store.

    Returns:
        Why it is dead; None when it lives, when Ray does not say, and when it was settled.
    """
    fence = view.fence
    if fence is None or fence.address is None or view.sealed:
        return None
    try:
        info = _jobs_of(fence).info(fence.submission_id)
    except ClusterError:
        return None  # the heartbeat tells, in time
    if info is None or not info.ended:
        return None
    # Ray's message goes on with the last pages of the log, which the run has anyway.
    words = (info.message or "").partition(", last available logs")[0].partition("\n")[0]
    reason = words or f"its process ended with code {info.driver_exit_code}"
    if view.progress is None or view.progress.owner == "client":
        settle(objects, fence, f"the driver never started: {reason}", ExitCode.FAILED)
        return None
    return reason


def stop(
    objects: Objects,
    view: RunView,
    *,
    reason: str,
    wait: Callable[[float], RunView],
    say: Callable[[str], None],
) -> RunView:
    """Stops a run so that it ends sealed, whatever state its driver is in.

    Asks the driver through the store and waits; then asks Ray; and if no driver is alive, takes the run over
    by a claim of its own and seals it.

    Args:
        objects: The store.
        view: The run as it is now.
        reason: Kept with the run; may be empty.
        wait: Waits so many seconds at most for the run to end, and returns it.
        say: Takes a line for the user.
    """
    if view.sealed or view.fence is None:
        return view
    fence = view.fence
    request_stop(objects, view.run_id, fence.n, by=who(), reason=reason)
    if view.exit_code is None and dead_reason(view, objects) is None:
        view = wait(STOP_WAIT_SECONDS)
        if view.sealed:
            return view
        if fence.address is not None:
            say("the driver does not answer; asking Ray to end it")
            try:
                _jobs_of(fence).stop(fence.submission_id)
                view = wait(STOP_WAIT_SECONDS)
            except ClusterError as error:
                say(f"Ray does not answer either ({error.message})")
    if not view.sealed:
        say("no driver is alive; sealing what it left")
        now = datetime.now(UTC)
        over = fence.model_copy(
            update={
                "n": fence.n + 1,
                "action": "stop",
                "created_at": now,
                "created_by": who(),
                "submission_id": submission_id(fence.run_id, fence.n + 1),
                "warnings": [],
            }
        )
        settle(
            objects,
            claim(objects, over),
            f"stopped by {who()}" + (f": {reason}" if reason else ""),
            ExitCode.STOPPED,
            state="STOPPED",
        )
    return wait(0)


def who() -> str:
    """The user and the machine, as kept with a run."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _jobs_of(fence: Fence) -> Jobs:
    target = find_cluster(fence.address, start=False)
    return Jobs(target.address, target.token, insecure=True)
