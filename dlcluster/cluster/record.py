"""What is known about the cluster on this machine between two commands: ``cluster.json`` and the token."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dlcluster.cluster.home import state_dir, write
from dlcluster.cluster.processes import marked
from dlcluster.cluster.tokens import read_token
from dlcluster.errors import ClusterError, UsageError


class Cluster(BaseModel):
    """The cluster on this machine, as ``cluster.json`` keeps it.

    Attributes:
        address: Its dashboard, ``http://127.0.0.1:8265`` when that port was free.
        pid: Its head's process.
        started_at: When it was started.
        token_path: The file with its token.
        temp_dir: A private folder with Ray's session and logs.
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


def recorded() -> Cluster | None:
    """What ``cluster.json`` says, true or not any more."""
    try:
        return Cluster.model_validate_json((state_dir() / "cluster.json").read_bytes())
    except (OSError, ValidationError):
        return None


def record(folder: Path, cluster: Cluster) -> None:
    """Writes ``cluster.json``."""
    write(folder / "cluster.json", cluster.model_dump_json(indent=2))


def living() -> Cluster | None:
    """The cluster whose head lives on this machine, whether or not it answers by now."""
    cluster = recorded()
    return cluster if cluster is not None and marked(cluster.pid, cluster.cluster_id) else None


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
