"""The cluster on this machine: one Ray head per user and state folder, started when needed.

The state folder (``DLCLUSTER_HOME``, default ``~/.dlcluster/<host name>``, mode 0700) holds:

    cluster.json   the cluster that runs, 0600      token   Ray's bearer token, 0600
    cluster.log    what its head writes             lock    held while one is started or stopped

What listens where (Ray 2.60, measured with ``ss -ltnp`` while jobs, actors, Tune and a TorchTrainer ran):
every server of Ray - GCS, raylet, object manager, dashboard and its agents, Ray Client, workers, metrics - is
bound to 127.0.0.1 alone, since the head runs as a cluster of one machine
(``RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0``). Without that setting Ray replaces ``--node-ip-address=127.0.0.1`` by
the host's own address and binds GCS, raylet and workers to all interfaces. The token guards the dashboard, the
Jobs API and gRPC. What is left open:

  * While several workers train together, PyTorch's rendezvous (TCPStore, a random port of rank 0) listens on
    all interfaces, without a token. gloo and NCCL are kept on the loopback interface by
    ``GLOO_SOCKET_IFNAME`` and ``NCCL_SOCKET_IFNAME``, unless the user has set them.
  * The metrics ports (the agent's, the dashboard's, the autoscaler's) ask for no token: other users of this
    machine can read what they show.
  * Every job can read the token, as it runs as the same user.

Every process of the cluster carries ``DLCLUSTER_CLUSTER=<id>`` in its environment; that, and never a name
or a bare pid, says what ``down`` may end.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dlcluster.cluster import head
from dlcluster.cluster.home import locked, made_state_dir, made_token, state_dir, state_errors
from dlcluster.cluster.processes import end_all
from dlcluster.cluster.record import Cluster, Status, living, record, recorded, token
from dlcluster.cluster.rest import request
from dlcluster.errors import ClusterError, UsageError

__all__ = ["Cluster", "Status", "down", "living", "running", "status", "token", "up"]

_POLL_SECONDS = 0.1
_ATTEMPTS = 3


def running() -> Cluster | None:
    """The cluster of this machine if it is up: its head lives and its dashboard takes our token."""
    cluster = living()
    return cluster if cluster is not None and cluster.ray_version and _answers(cluster) else None


def status() -> Status:
    """Whether a cluster runs on this machine, and where its log is."""
    cluster = living()
    state: Literal["up", "down", "not answering"] = "down"
    if cluster is not None:
        state = "up" if cluster.ray_version and _answers(cluster) else "not answering"
    return Status(state=state, cluster=cluster, log=state_dir() / "cluster.log")


def up(
    *,
    say: Callable[[str], object] = lambda line: None,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    timeout: float = 60.0,
) -> Cluster:
    """The cluster of this machine, started if it is not running.

    Args:
        say: Takes a line for the user.
        num_cpus: CPUs to offer, a whole number; None for all. A running cluster keeps its own: ``say`` tells.
        num_gpus: GPUs to offer, likewise.
        timeout: Seconds until it must take jobs.

    Returns:
        A cluster that takes jobs.

    Raises:
        UsageError: A number of CPUs or GPUs is not whole.
        ClusterError: It could not be started (the message ends with its log), or the one that runs does
            not answer; that is left alone, since jobs may be running on it.
    """
    for asked, option in ((num_cpus, "num_cpus"), (num_gpus, "num_gpus")):
        if asked is not None and (asked < 0 or asked != int(asked)):
            raise UsageError(f"{option} is {asked:g}; a cluster is started with a whole number.")
    cluster = running()
    if cluster is None:
        folder = made_state_dir()
        with locked(folder, say, timeout):
            cluster = _adopted(folder, timeout)
            if cluster is None:
                _clear(folder)
                say("Starting a Ray cluster on this machine (a few seconds) ...")
                cluster = _start(folder, num_cpus, num_gpus, timeout)
                offers = f"CPUs: {cluster.num_cpus:g}, GPUs: {cluster.num_gpus:g}"
                say(f"Ray {cluster.ray_version} is up at {cluster.address} ({offers}).")
                return cluster
    _say_differences(cluster, say, num_cpus, num_gpus)
    return cluster


def down(*, say: Callable[[str], object] = lambda line: None) -> bool:
    """Ends the cluster of this machine and every process on it, jobs included; nobody else's, ever.

    Args:
        say: Takes a line for the user.

    Returns:
        Whether anything of it was still running.

    Raises:
        ClusterError: A process of it could not be ended, or the state folder can't be written.
    """
    folder = state_dir()
    if not folder.is_dir():
        return False
    with locked(folder, say, timeout=60.0):
        ended = _clear(folder)
    if ended:
        say("The cluster on this machine is down.")
    return ended


def _start(folder: Path, num_cpus: float | None, num_gpus: float | None, timeout: float) -> Cluster:
    token_path = made_token(folder)
    log = folder / "cluster.log"
    for attempt in range(1, _ATTEMPTS + 1):
        cluster, process = _spawn(folder, token_path, num_cpus, num_gpus)
        try:
            ready = _wait_until_ready(cluster, process, timeout)
            if ready is not None:
                record(folder, ready)
                # It outlives us: Popen shall not warn that nobody waited for it.
                process.returncode = 0
                return ready
            ended = process.poll()
        except BaseException:
            _clear(folder)
            process.poll()
            raise
        _clear(folder)
        process.poll()
        said = head.log_tail(log)
        # Somebody may have taken a port between our look at it and Ray's start.
        if ended is None or attempt == _ATTEMPTS or not re.search(r"in use|occupied|bind", said):
            break
    what = (
        f"Ray did not come up within {timeout:g} s."
        if ended is None
        else f"Ray could not be started (exit code {ended})."
    )
    raise ClusterError(f"{what} The end of {log}:\n{said or '  (empty)'}")


def _spawn(
    folder: Path, token_path: Path, num_cpus: float | None, num_gpus: float | None
) -> tuple[Cluster, subprocess.Popen[bytes]]:
    """Starts a head and writes down at once what it is, so that even a start cut off can be ended."""
    cluster_id, ports = secrets.token_hex(16), head.free_ports()
    with state_errors(folder):
        out = os.open(folder / "cluster.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        temp_dir = head.new_temp_dir()
        process = subprocess.Popen(
            head.command(temp_dir, ports, num_cpus=num_cpus, num_gpus=num_gpus),
            env=head.environment(cluster_id, token_path, ports),
            # Python puts the folder it starts in on sys.path, and the user's may hold a click.py.
            cwd=temp_dir,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    except OSError as error:
        raise ClusterError(f"Ray could not be started: {error}.") from error
    finally:
        os.close(out)
    cluster = Cluster(
        address=f"http://127.0.0.1:{ports['dashboard']}",
        pid=process.pid,
        started_at=datetime.now(UTC),
        token_path=token_path,
        temp_dir=temp_dir,
        python=sys.executable,
        cluster_id=cluster_id,
    )
    try:
        record(folder, cluster)
    except BaseException:
        end_all(process.pid, cluster_id)
        process.poll()
        raise
    return cluster, process


def _wait_until_ready(cluster: Cluster, process: subprocess.Popen[bytes], timeout: float) -> Cluster | None:
    """The cluster with what it has, once its head takes jobs; None if it ended or took too long."""
    until = time.monotonic() + timeout
    while time.monotonic() < until and process.poll() is None:
        ready = _facts(cluster)
        if ready is not None:
            return ready
        time.sleep(_POLL_SECONDS)
    return None


def _facts(cluster: Cluster) -> Cluster | None:
    """The cluster with its version and resources, once the dashboard knows a living head node."""
    try:
        version = request("GET", cluster.address, "/api/version", token=token(cluster), timeout=5.0)
        if version.status != 200:
            return None
        nodes = request("GET", cluster.address, "/nodes?view=summary", token=token(cluster), timeout=5.0)
        raylets = [node["raylet"] for node in nodes.json()["data"]["summary"]]
        total = next(raylet["resourcesTotal"] for raylet in raylets if raylet.get("state") == "ALIVE")
        changes = {
            "num_cpus": total.get("CPU", 0),
            "num_gpus": total.get("GPU", 0),
            "ray_version": version.json()["ray_version"],
        }
    except (ClusterError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return cluster.model_copy(update=changes)


def _answers(cluster: Cluster) -> bool:
    """Whether the dashboard takes our token (a stranger's on the same port would not)."""
    try:
        return request("GET", cluster.address, "/api/version", token=token(cluster), timeout=5.0).status == 200
    except ClusterError:
        return False


def _adopted(folder: Path, timeout: float) -> Cluster | None:
    """A cluster whose head lives already, once it takes jobs; None if there is none.

    Raises:
        ClusterError: It lives and does not answer, or its token is lost.
    """
    until = time.monotonic() + timeout
    while (cluster := living()) is not None:
        token(cluster)
        if (ready := _facts(cluster)) is not None:
            if not cluster.ray_version:  # the process that started it was cut off before it wrote this
                record(folder, ready)
            return ready
        if time.monotonic() > until:
            raise ClusterError(
                f"The cluster on this machine (process {cluster.pid}) is there, but does not answer at "
                f"{cluster.address}; its log is {folder / 'cluster.log'}.",
                hint="Its jobs are left alone. To end it and them: dlcluster cluster down.",
            )
        time.sleep(_POLL_SECONDS)
    return None


def _say_differences(
    cluster: Cluster, say: Callable[[str], object], num_cpus: float | None, num_gpus: float | None
) -> None:
    again = "(dlcluster cluster down, then up, changes that)"
    for asked, has, what in ((num_cpus, cluster.num_cpus, "CPUs"), (num_gpus, cluster.num_gpus, "GPUs")):
        if asked is not None and asked != has:
            say(f"The running cluster offers {what}: {has:g}, not {asked:g} {again}.")
    if cluster.python != sys.executable:
        say(f"The running cluster, and so its jobs, use {cluster.python} {again}.")
    elif cluster.ray_version not in ("", installed := importlib.metadata.version("ray")):
        say(f"The running cluster is Ray {cluster.ray_version}, {installed} is installed by now {again}.")


def _clear(folder: Path) -> bool:
    """Ends what is left of the recorded cluster and removes its traces; whether anything still ran."""
    cluster = recorded()
    if cluster is None:
        return False
    ended = end_all(cluster.pid, cluster.cluster_id)
    _remove_temp_dir(cluster.temp_dir)
    with state_errors(folder):
        (folder / "cluster.json").unlink(missing_ok=True)
    return ended


def _remove_temp_dir(folder: Path) -> None:
    """Removes a cluster's temp dir - only what is named like one of ours and is this user's."""
    with contextlib.suppress(OSError):
        info = folder.lstat()
        ours = folder.name.startswith(head.TEMP_PREFIX) and info.st_uid == os.getuid()
        if ours and stat.S_ISDIR(info.st_mode):
            shutil.rmtree(folder, ignore_errors=True)
