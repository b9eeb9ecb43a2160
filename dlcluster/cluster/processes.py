"""Which processes are the cluster's, told by the mark in their environment, and how they are ended."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence

import psutil

from dlcluster.errors import ClusterError

MARKER = "DLCLUSTER_CLUSTER"
# Ray puts this into the environment of a job's entrypoint, and so of what that starts.
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_JOBS_SECONDS = 30.0
_HEAD_SECONDS = 10.0
_KILL_SECONDS = 3.0
_POLL_SECONDS = 0.02


def marked(pid: int, cluster_id: str) -> psutil.Process | None:
    """A living process, if it carries a cluster's mark.

    A recycled pid does not carry it, and another user's process does not show what it carries.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if process.environ().get(MARKER) == cluster_id else None
    except (psutil.Error, OSError):
        return None


def end_all(head_pid: int, cluster_id: str) -> bool:
    """Ends a cluster: its jobs' drivers first, then its head, then every process with its mark.

    Drivers get SIGTERM and half a minute to store what they have; Ray itself would give them SIGKILL.

    Args:
        head_pid: The head's process id; believed only if that process carries the mark.
        cluster_id: The mark.

    Returns:
        Whether anything was running.

    Raises:
        ClusterError: Something with the mark can't be ended.
    """
    found = _all_marked(cluster_id)
    _signal([process for process in found if _is_of_a_job(process)], psutil.Process.terminate, _JOBS_SECONDS)
    if head := marked(head_pid, cluster_id):
        # It ends its own in the right order, the raylet first and the GCS last.
        _signal([head], psutil.Process.terminate, _HEAD_SECONDS)
    for _ in range(3):  # what is being started during one round is found by the next
        left = _all_marked(cluster_id)
        if not left:
            return bool(found)
        _signal(left, psutil.Process.kill, _KILL_SECONDS)
    if left := _all_marked(cluster_id):
        pids = ", ".join(str(process.pid) for process in left)
        raise ClusterError(f"Processes of the cluster on this machine could not be ended: {pids}.")
    return bool(found)


def _is_of_a_job(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return _JOB_VARIABLE in process.environ()
    return False


def _all_marked(cluster_id: str) -> list[psutil.Process]:
    """All but this process, which a job of the cluster may have started."""
    found = (marked(pid, cluster_id) for pid in psutil.pids() if pid != os.getpid())
    return [process for process in found if process is not None]


def _signal(processes: Sequence[psutil.Process], end: Callable[[psutil.Process], None], wait_seconds: float) -> None:
    """Sends a signal and waits until all have ended, or the time is over."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            end(process)
    until = time.monotonic() + wait_seconds
    while any(_runs(process) for process in processes) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.wait(timeout=0)  # reaps a head that this very process started


def _runs(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie, which its parent may leave there for seconds, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
