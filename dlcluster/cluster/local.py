"""The cluster on this machine: one Ray head per user and state folder, started when needed.

Its state lies in ``DLCLUSTER_HOME`` (default ``~/.dlcluster/<host name>``, since home folders are shared
between machines), mode 0700:

    cluster.json   the cluster that runs, 0600      token   Ray's bearer token, 0600
    cluster.log    what its head writes             lock    held while one is started or stopped

What listens where (Ray 2.60, measured with ``ss -ltnp``): every server of Ray - GCS, raylet, object manager,
dashboard, its agents, Ray Client, workers, metrics - is bound to 127.0.0.1 alone, because the head runs as a
"one machine only" cluster (``RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0``; without it Ray replaces
``--node-ip-address=127.0.0.1`` by the host's own address and binds all interfaces). The token guards the dashboard,
the Jobs API and all gRPC. What is left:

  * While several workers train together, PyTorch's rendezvous (TCPStore, a random port of rank 0) listens on all
    interfaces, without a token; PyTorch has no setting for that. gloo and NCCL themselves stay on the
    loopback interface (``GLOO_SOCKET_IFNAME``, ``NCCL_SOCKET_IFNAME``, unless the user has set them).
  * Three ports with metrics (the agent's, the dashboard's, the autoscaler's) and the runtime-env agent are on
    127.0.0.1, but ask for no token: other users of this machine can read metrics.
  * The token is in the environment's reach of every job: who may submit here is this user, fully.

Every process of the cluster carries ``DLCLUSTER_CLUSTER=<id>`` in its environment; that, and never a
name or a bare pid, says what ``down`` may end.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import re
import secrets
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from dlcluster.cluster import head
from dlcluster.cluster.rest import request
from dlcluster.cluster.tokens import read_token
from dlcluster.errors import ClusterError, UsageError

_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0
_ATTEMPTS = 3


class Cluster(BaseModel):
    """The cluster on this machine, as ``cluster.json`` keeps it.

    Attributes:
        address: Its dashboard, ``http://127.0.0.1:8265`` when that port was free.
        pid: Its head's process.
        started_at: When it was started.
        token_path: The file with its token.
        temp_dir: Ray's session and logs.
        python: The interpreter that runs it, and its jobs.
        cluster_id: The mark in the environment of its processes.
        num_cpus: CPUs it has for jobs; 0 until it is up.
        num_gpus: GPUs it has for jobs.
        ray_version: Ray's version; empty until it is up.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    pid: int
    started_at: datetime
    token_path: Path
    temp_dir: Path
    python: str
    cluster_id: str
    num_cpus: float = 0
    num_gpus: float = 0
    ray_version: str = ""


class Status(BaseModel):
    """What ``status`` found.

    Attributes:
        state: ``up``; ``down``; ``not answering``: its head lives, its dashboard does not (yet).
        cluster: The cluster, unless it is down.
        log: Where its head writes.
    """

    model_config = ConfigDict(frozen=True)

    state: Literal["up", "down", "not answering"]
    cluster: Cluster | None
    log: Path


def state_dir() -> Path:
    """The folder with this machine's cluster state; not necessarily there yet.

    Raises:
        ClusterError: There is no home folder to put it in.
    """
    if named := os.environ.get("DLCLUSTER_HOME"):
        return Path(named).expanduser().absolute()
    host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node()).strip(".") or "localhost"
    try:
        return Path.home() / ".dlcluster" / host
    except RuntimeError as error:
        raise ClusterError(
            "There is no home folder for the cluster's state.",
            hint="Set DLCLUSTER_HOME to a folder of yours.",
        ) from error


def recorded() -> Cluster | None:
    """The cluster that was started last and not stopped, whether it still lives or not."""
    try:
        return Cluster.model_validate_json((state_dir() / "cluster.json").read_bytes())
    except (OSError, ValidationError):
        return None


def token(cluster: Cluster) -> str:
    """The bearer token of a cluster of ours.

    Raises:
        ClusterError: Its file is gone or damaged.
    """
    try:
        return read_token(cluster.token_path, str(cluster.token_path))
    except UsageError as error:
        raise ClusterError(
            error.message, hint="Start the cluster anew: dlcluster cluster down, then dlcluster cluster up."
        ) from error


def running() -> Cluster | None:
    """The cluster of this machine if its head lives and its dashboard answers, else None."""
    cluster = recorded()
    return cluster if cluster is not None and _head(cluster) is not None and _answers(cluster) else None


def status() -> Status:
    """Whether a cluster runs on this machine, and where its log is."""
    log = state_dir() / "cluster.log"
    cluster = recorded()
    if cluster is None or _head(cluster) is None:
        return Status(state="down", cluster=None, log=log)
    return Status(state="up" if _answers(cluster) else "not answering", cluster=cluster, log=log)


def up(
    *,
    say: Callable[[str], object],
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    timeout: float = 60.0,
) -> Cluster:
    """The cluster of this machine, started if it is not running.

    Args:
        say: Takes a line for the user.
        num_cpus: CPUs to give it; None for all. Says so when a running cluster has another number.
        num_gpus: GPUs to give it; None for all.
        timeout: Seconds until it must answer.

    Returns:
        A cluster that answers and takes jobs.

    Raises:
        ClusterError: It could not be started (the message ends with its log), or the one that runs
            does not answer - it is left alone, since jobs may be running on it.
    """
    cluster = running()
    if cluster is None:
        folder = _made_state_dir()
        with _locked(folder, say, timeout):
            cluster = _waited_for(recorded(), timeout)
            if cluster is None:
                _clear(folder)
                say("Starting a Ray cluster on this machine (a few seconds) ...")
                cluster = _start(folder, num_cpus, num_gpus, timeout)
                gpus = f", {cluster.num_gpus:g} GPUs" if cluster.num_gpus else ""
                say(f"Ray {cluster.ray_version} is up: {cluster.num_cpus:g} CPUs{gpus}, {cluster.address}")
                return cluster
    _say_differences(cluster, say, num_cpus, num_gpus)
    return cluster


def down(*, say: Callable[[str], object]) -> bool:
    """Ends the cluster of this machine and every process on it, jobs included; others' are never touched.

    Args:
        say: Takes a line for the user.

    Returns:
        Whether anything of it was still running.

    Raises:
        ClusterError: A process of it could not be ended, or the state folder is out of reach.
    """
    folder = state_dir()
    if not folder.is_dir():
        return False
    with _locked(folder, say, timeout=60.0):
        ended = _clear(folder)
    if ended:
        say("The cluster on this machine is down.")
    return ended


def _start(folder: Path, num_cpus: int | None, num_gpus: int | None, timeout: float) -> Cluster:
    token_path = _made_token(folder)
    log = folder / "cluster.log"
    for attempt in range(1, _ATTEMPTS + 1):
        ports = head.free_ports()
        temp_dir = head.new_temp_dir()
        cluster_id = secrets.token_hex(16)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            process = subprocess.Popen(
                head.command(temp_dir, ports, num_cpus=num_cpus, num_gpus=num_gpus),
                env=head.environment(cluster_id, token_path, ports),
                # Python puts the folder it starts in on sys.path: the user's may hold a click.py.
                cwd=temp_dir,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
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
            # At once, so that even a start that is killed leaves a trail for the next up or down.
            _write(folder / "cluster.json", cluster.model_dump_json(indent=2))
            ready = _wait_until_ready(cluster, process, timeout)
            if ready is not None:
                _write(folder / "cluster.json", ready.model_dump_json(indent=2))
                # It lives on without us; not to be waited for at our exit.
                process.returncode = 0
                return ready
        except BaseException:
            _clear(folder)
            raise
        ended, said = process.poll(), head.log_tail(log)
        _clear(folder)
        if ended is not None and attempt < _ATTEMPTS and re.search(r"in use|already occupied|bind", said):
            continue  # somebody took one of the ports between our look and Ray's start
        break
    if ended is None:
        what = f"Ray did not come up within {timeout:g} s."
    else:
        what = f"Ray could not be started (exit code {ended})."
    raise ClusterError(f"{what} The end of {log}:\n{said or '  (empty)'}")


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
        return (
            request("GET", cluster.address, "/api/version", token=token(cluster), timeout=5.0).status == 200
        )
    except ClusterError:
        return False


def _waited_for(cluster: Cluster | None, timeout: float) -> Cluster | None:
    """A recorded cluster whose head lives, once it answers; None if there is none.

    Raises:
        ClusterError: It lives and does not answer.
    """
    if cluster is None:
        return None
    until = time.monotonic() + timeout
    while (process := _head(cluster)) is not None:
        if (ready := _facts(cluster)) is not None:
            if not cluster.ray_version:  # its own start was cut off before it could write this
                _write(state_dir() / "cluster.json", ready.model_dump_json(indent=2))
            return ready
        if time.monotonic() > until:
            raise ClusterError(
                f"The cluster on this machine (process {process.pid}) is there, but {cluster.address} does not "
                f"answer. The end of {state_dir() / 'cluster.log'}:\n{head.log_tail(state_dir() / 'cluster.log')}",
                hint="Its jobs are left alone. To end it and them: dlcluster cluster down.",
            )
        time.sleep(_POLL_SECONDS)
    return None


def _say_differences(
    cluster: Cluster, say: Callable[[str], object], num_cpus: int | None, num_gpus: int | None
) -> None:
    again = "(dlcluster cluster down, then up, changes that)"
    for asked, has, what in ((num_cpus, cluster.num_cpus, "CPUs"), (num_gpus, cluster.num_gpus, "GPUs")):
        if asked is not None and asked != has:
            say(f"The running cluster has {has:g} {what}, not {asked} {again}.")
    if cluster.python != sys.executable:
        say(f"The running cluster, and so its jobs, use {cluster.python} {again}.")
    elif cluster.ray_version not in ("", installed := importlib.metadata.version("ray")):
        say(f"The running cluster is Ray {cluster.ray_version}, {installed} is installed by now {again}.")


def _marked(cluster: Cluster, pid: int) -> psutil.Process | None:
    """A living process if it carries the cluster's mark; a recycled pid, or another user's, does not."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if process.environ().get(head.MARKER) == cluster.cluster_id else None
    except (psutil.Error, OSError):
        return None


def _head(cluster: Cluster) -> psutil.Process | None:
    return _marked(cluster, cluster.pid)


def _clear(folder: Path) -> bool:
    """Ends what is left of the recorded cluster and removes its traces; True if anything still ran."""
    cluster = recorded()
    if cluster is None:
        return False
    process = _head(cluster)
    if process is not None:
        # The head ends its own in the right order (raylet first, GCS last).
        _signal([process], psutil.Process.terminate, _STOP_SECONDS)
    ended = process is not None
    for end in (psutil.Process.terminate, psutil.Process.kill, psutil.Process.kill):
        left = [found for pid in psutil.pids() if pid != os.getpid() and (found := _marked(cluster, pid))]
        if not left:
            break
        ended = True
        _signal(left, end, 3.0)
    else:
        if left := [pid for pid in psutil.pids() if pid != os.getpid() and _marked(cluster, pid)]:
            raise ClusterError(f"Processes of the cluster could not be ended: {', '.join(map(str, left))}.")
    _remove_temp_dir(cluster.temp_dir)
    (folder / "cluster.json").unlink(missing_ok=True)
    return ended


def _signal(
    processes: list[psutil.Process], end: Callable[[psutil.Process], None], wait_seconds: float
) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            end(process)
    psutil.wait_procs(processes, timeout=wait_seconds)


def _remove_temp_dir(folder: Path) -> None:
    """Removes a cluster's temp dir - only what looks like one of ours and is this user's."""
    with contextlib.suppress(OSError):
        info = folder.lstat()
        if (
            folder.name.startswith(head.TEMP_PREFIX)
            and stat.S_ISDIR(info.st_mode)
            and info.st_uid == os.getuid()
        ):
            shutil.rmtree(folder, ignore_errors=True)


def _made_state_dir() -> Path:
    folder = state_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.stat()
        if info.st_uid != os.getuid():
            raise ClusterError(
                f"{folder} belongs to another user, who could read the cluster's token.",
                hint="Set DLCLUSTER_HOME to a folder of yours.",
            )
        if stat.S_IMODE(info.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise _state_error(folder, error) from error
    return folder


def _made_token(folder: Path) -> Path:
    """The token file; made anew if there is none, or none that Ray would take."""
    path = folder / "token"
    try:
        with contextlib.suppress(UsageError):
            read_token(path, str(path))
            if path.stat().st_uid == os.getuid():
                path.chmod(0o600)
                return path
        _write(path, secrets.token_hex(32))
    except OSError as error:
        raise _state_error(folder, error) from error
    return path


def _write(path: Path, text: str) -> None:
    """Writes a file for this user's eyes, all of it or nothing."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


@contextlib.contextmanager
def _locked(folder: Path, say: Callable[[str], object], timeout: float) -> Iterator[None]:
    """Holds the state folder's lock: one start or stop at a time."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _state_error(folder, error) from error
    try:
        until, told = time.monotonic() + timeout + _STOP_SECONDS, False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ClusterError(
                        f"Another dlcluster has held {folder / 'lock'} for {timeout:g} s.",
                        hint="It is starting or stopping the cluster of this machine; try again later.",
                    ) from None
            except OSError as error:
                raise _state_error(folder, error) from error
            if not told:
                say("Another dlcluster is starting or stopping the cluster of this machine; waiting ...")
                told = True
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _state_error(folder: Path, error: OSError) -> ClusterError:
    return ClusterError(
        f"The cluster's state cannot be kept in {folder}: {error.strerror}.",
        hint="Set DLCLUSTER_HOME to a folder of yours that can be written.",
    )
