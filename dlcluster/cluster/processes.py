"""Which processes are the cluster's, told by the mark in their environment, and how they are ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

import psutil

from dlcluster.errors import ClusterError

MARKER = "DLCLUSTER_CLUSTER"
_HEAD_SECONDS = 10.0
_OTHERS_SECONDS = 3.0


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
    """Ends a cluster's head and then every process with its mark: SIGTERM first, SIGKILL for what stays.

    Args:
        head_pid: The head's process id; believed only if that process carries the mark.
        cluster_id: The mark.

    Returns:
        Whether anything was running.

    Raises:
        ClusterError: Something with the mark can't be ended.
    """
    head = marked(head_pid, cluster_id)
    if head is not None:
        # Alone at first: it ends its own in the right order, the raylet first and the GCS last.
        _signal([head], psutil.Process.terminate, _HEAD_SECONDS)
    any_left = False
    # Twice SIGKILL: what was being started during the first is found by the second.
    for end in (psutil.Process.terminate, psutil.Process.kill, psutil.Process.kill):
        left = _all_marked(cluster_id)
        if not left:
            return head is not None or any_left
        any_left = True
        _signal(left, end, _OTHERS_SECONDS)
    if left := _all_marked(cluster_id):
        pids = ", ".join(str(process.pid) for process in left)
        raise ClusterError(f"Processes of the cluster on this machine could not be ended: {pids}.")
    return True


def _all_marked(cluster_id: str) -> list[psutil.Process]:
    """All but this process, which a job of the cluster may have started."""
    found = (marked(pid, cluster_id) for pid in psutil.pids() if pid != os.getpid())
    return [process for process in found if process is not None]


def _signal(
    processes: Sequence[psutil.Process], end: Callable[[psutil.Process], None], wait_seconds: float
) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            end(process)
    psutil.wait_procs(list(processes), timeout=wait_seconds)
