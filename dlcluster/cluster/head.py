"""How the Ray head of this machine's cluster is started: command line, environment, ports, its log's end."""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dlcluster.cluster.processes import MARKER

TEMP_PREFIX = "dlc-"
_OBJECT_STORE_BYTES = 256 << 20
# Ray's unix sockets lie this much deeper than its temp dir, and a socket's path has 107 bytes at most.
_RAY_FOLDER = "r"
_SOCKET_SUFFIX = len(f"/{_RAY_FOLDER}/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_SOCKET_LIMIT = 107
# What would make our head join, imitate or authenticate as somebody else's, when `up` runs in a shell set
# up for another cluster or inside a Ray job. OMP_NUM_THREADS: Ray sets it per worker unless it is set.
_NOT_INHERITED = (
    "OMP_NUM_THREADS", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_CLIENT_MODE", "RAY_GCS_SERVER_PORT",
    "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_JOB_ID", "RAY_NAMESPACE", "RAY_NODE_ID", "RAY_RAYLET_PID",
    "RAY_REDIS_ADDRESS", "RAY_RUNTIME_ENV_HOOK", "RAY_START_HOOK", "RAY_TMPDIR",
)  # fmt: skip
_USUAL_PORTS = {
    "gcs": 6379,
    "dashboard": 8265,
    "client": 10001,
    "dashboard_metrics": 44227,
    "monitor_metrics": 44217,
}


def free_ports() -> dict[str, int]:
    """Ports of 127.0.0.1 for what can't choose its own: the usual ones where free, else others.

    They can be taken between this look and Ray's start; who starts Ray tries again then.

    Returns:
        ``gcs``, ``dashboard``, ``client``, ``dashboard_metrics`` and ``monitor_metrics`` to a port each.
    """
    held: list[socket.socket] = []
    try:
        for usual in _USUAL_PORTS.values():
            held.append(_hold(usual) or _hold(0) or socket.socket())
        return {name: sock.getsockname()[1] for name, sock in zip(_USUAL_PORTS, held, strict=True)}
    finally:
        for sock in held:
            sock.close()


def _hold(port: int) -> socket.socket | None:
    """A socket bound to a port (0: any) so that the next one gets another; None if somebody has it."""
    sock = socket.socket()
    # A port that a cluster left a moment ago (TIME_WAIT) is free; one that is listened on is not.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return sock


def new_temp_dir() -> Path:
    """A private folder (0700) for one cluster, with a path short enough for Ray's sockets.

    Ray opens the folder it is given to everybody (0777), sockets included, so it gets one inside this one.
    """
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) + len(f"/{TEMP_PREFIX}12345678") + _SOCKET_SUFFIX > _SOCKET_LIMIT:
        base = "/tmp"  # noqa: S108 - only its parent is shared; mkdtemp makes the folder ours alone
    return Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=base))


def command(temp_dir: Path, ports: Mapping[str, int], *, num_cpus: float | None, num_gpus: float | None) -> list[str]:
    """The command line of ``ray start``, run by our own interpreter.

    Ports given as 0 are chosen by the process that binds them, so that no two clusters can meet there.
    """
    memory = os.environ.get("DLCLUSTER_OBJECT_STORE_MEMORY") or str(_OBJECT_STORE_BYTES)
    line = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-dashboard=true",
        f"--port={ports['gcs']}", f"--dashboard-port={ports['dashboard']}",
        f"--ray-client-server-port={ports['client']}",
        "--dashboard-agent-listen-port=0", "--dashboard-agent-grpc-port=0", "--metrics-export-port=0",
        "--runtime-env-agent-port=0", "--min-worker-port=0", "--max-worker-port=0",
        f"--temp-dir={temp_dir / _RAY_FOLDER}", f"--object-store-memory={memory}", "--disable-usage-stats",
        "--log-style=record", "--log-color=false",
    ]  # fmt: skip
    if num_cpus is not None:
        line.append(f"--num-cpus={num_cpus:.0f}")
    if num_gpus is not None:
        line.append(f"--num-gpus={num_gpus:.0f}")
    return line


def environment(cluster_id: str, token_path: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """The environment of the head, and so of every job on it.

    Args:
        cluster_id: Our mark in each process's environment.
        token_path: The file with the token.
        ports: From ``free_ports``.
    """
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    defaults = {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    ours = {
        MARKER: cluster_id,
        # Else processes that give themselves a title (ray::DashboardAgent) write it over their
        # environment, and with it over the mark: they would be missed when the cluster is ended.
        "SPT_NOENV": "1",
        # Ray's switch for "one machine only": the node's address stays 127.0.0.1, and so does every
        # server of Ray. (Its name comes from where one machine only is the default.)
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['dashboard']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        # Else SIGTERM makes the head wait 30 s for actors to move to another machine.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "DASHBOARD_METRIC_PORT": str(ports["dashboard_metrics"]),
        "AUTOSCALER_METRIC_PORT": str(ports["monitor_metrics"]),
        # Not the resolved interpreter: a virtual environment's bin is where its link lies.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    return {**defaults, **inherited, **ours}


def log_tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log that say something: no frames of a traceback, no colours, no blank lines."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    kept = [
        line.rstrip()[:300]
        for line in plain.splitlines()
        if line.strip(" -\t") and not line.startswith((" ", "\t", "Traceback (most recent call last)"))
    ]
    return "\n".join(f"  {line}" for line in kept[-lines:])
