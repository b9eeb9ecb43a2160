"""Ray Jobs over its documented REST API, and the choice of the cluster that gets a job."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from dlcluster.cluster import local
from dlcluster.cluster.rest import Reply, is_loopback, normalize_address, request
from dlcluster.cluster.tokens import find_token
from dlcluster.errors import ClusterError, UsageError

_TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_UPLOAD_SECONDS = 120.0
_LOOKED = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token"


@dataclass(frozen=True)
class JobInfo:
    """What Ray knows about a submitted job.

    Attributes:
        submission_id: The id it was submitted under.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        message: Ray's own words about the status.
        error_type: Ray's name for a failure, such as ``RUNTIME_ENV_SETUP_FAILURE``.
        driver_exit_code: The entrypoint's exit code, once it has one.
        entrypoint: The command.
        metadata: What was submitted with it.
        started_at: When Ray took it.
        ended_at: When it ended.
    """

    submission_id: str
    status: str
    message: str | None
    error_type: str | None
    driver_exit_code: int | None
    entrypoint: str
    metadata: dict[str, str]
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self.status in _TERMINAL


class Jobs:
    """The Jobs API of one cluster.

    Args:
        address: Its dashboard; ``host:8265`` and ``http://host:8265/`` are the same.
        token: Its bearer token, if it has one.
        insecure: Allows plain http to another machine without a token.

    Raises:
        UsageError: The address is none, or it is plain http to another machine without a token.
    """

    def __init__(self, address: str, token: str | None, *, insecure: bool = False) -> None:
        self.address = normalize_address(address)
        self._token = token
        plain = self.address.startswith("http://") and not is_loopback(self.address)
        if plain and token is None and not insecure:
            raise UsageError(
                f"{self.address} is on another machine, over plain http, and there is no token for it "
                f"(looked at {_LOOKED}): anybody there could run code as you.",
                hint="Set RAY_AUTH_TOKEN_PATH, use an SSH tunnel (ssh -L 8265:127.0.0.1:8265 host), "
                "or pass --insecure.",
            )

    def version(self) -> str:
        """The cluster's Ray version, such as ``2.60.0``.

        Raises:
            ClusterError: No Ray dashboard answers, or it refuses the token.
        """
        found = self._mapping(self._ask("GET", "/api/version")).get("ray_version")
        if not found:
            raise self._not_ray()
        return str(found)

    def package_exists(self, name: str) -> bool:
        """Whether the cluster has a package; asking keeps it there for the next ten minutes."""
        return self._ask("GET", f"/api/packages/gcs/{quote(name, safe='')}", may_lack="Package") is not None

    def upload(self, name: str, data: bytes) -> None:
        """Puts a package into the cluster's package store, unless it is there.

        Args:
            name: Such as ``Package.name``; it must end in ``.zip`` to serve as a working_dir.
            data: At most 100 MiB.
        """
        if not self.package_exists(name):
            self._put(name, data)

    def put_secret(self, data: bytes) -> str:
        """Puts bytes where only who has the cluster's token can read them, for the driver to take.

        They lie in the GCS's internal key-value store, in memory, without a namespace, under the returned
        key; neither the dashboard nor ``GET /api/packages`` shows them. The driver takes them by
        ``ray.experimental.internal_kv._internal_kv_get(key)`` followed by ``_internal_kv_del(key)``; what no
        driver deletes stays until the cluster ends (Ray drops only packages that a job named).

        Args:
            data: The secret.

        Returns:
            The key, ``gcs://_ray_pkg_<32 hex>.zip``; knowing it is useless without the token.
        """
        name = f"_ray_pkg_{secrets.token_hex(16)}.zip"
        self._put(name, data, secret=True)
        return f"gcs://{name}"

    def submit(
        self,
        entrypoint: str,
        submission_id: str,
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Submits a job; the driver starts about a second later.

        A connection that breaks before the answer is no failure if the job is there after all.

        Args:
            entrypoint: A shell command.
            submission_id: Ours; Ray takes each one once.
            runtime_env: Such as ``{"working_dir": "gcs://<name>"}``.
            metadata: Shown by Ray; text to text.

        Returns:
            The submission id.

        Raises:
            ClusterError: The cluster is away or refuses the job.
        """
        body: dict[str, Any] = {"entrypoint": entrypoint, "submission_id": submission_id}
        if runtime_env:
            body["runtime_env"] = dict(runtime_env)
        if metadata:
            body["metadata"] = dict(metadata)
        try:
            reply = request("POST", self.address, "/api/jobs/", token=self._token, body=body, timeout=60.0)
        except ClusterError as error:
            try:
                taken = self.info(submission_id) is not None
            except ClusterError:
                taken = False
            if not taken:
                raise error from None
            return submission_id
        if reply.status == 500 and f"{submission_id} already exists" in reply.text:
            raise ClusterError(f"{self.address} already has a job {submission_id}.")
        self._judge(reply)
        return submission_id

    def info(self, submission_id: str) -> JobInfo | None:
        """What Ray knows about a job; None if it has no such job (a restarted cluster forgets)."""
        reply = self._ask("GET", f"/api/jobs/{quote(submission_id, safe='')}", may_lack="Job")
        if reply is None:
            return None
        entry = self._mapping(reply)
        if "status" not in entry:
            raise self._not_ray()
        return _job_info(entry)

    def stop(self, submission_id: str) -> bool:
        """Asks a job to stop: SIGTERM to its driver, SIGKILL after the cluster's grace period.

        Returns:
            Whether there was a job to stop; False when it has ended or is unknown.
        """
        reply = self._ask("POST", f"/api/jobs/{quote(submission_id, safe='')}/stop", may_lack="Job")
        return reply is not None and bool(self._mapping(reply).get("stopped"))

    def logs(self, submission_id: str) -> str:
        """What a job's driver wrote so far; empty if the cluster does not know the job."""
        reply = self._ask("GET", f"/api/jobs/{quote(submission_id, safe='')}/logs", may_lack="Job")
        return "" if reply is None else str(self._mapping(reply).get("logs") or "")

    def _put(self, name: str, data: bytes, *, secret: bool = False) -> None:
        path = f"/api/packages/gcs/{quote(name, safe='')}"
        reply = request("PUT", self.address, path, token=self._token, body=data, timeout=_UPLOAD_SECONDS)
        if secret and reply.status == 500:
            # Ray's own message quotes the first bytes of what it could not store.
            raise ClusterError(f"{self.address} could not store the job's secrets ({reply.status}).")
        self._judge(reply)

    def _ask(self, method: str, path: str, *, may_lack: str | None = None) -> Any:
        """A reply with status 200; None for Ray's own 404 about a job or package."""
        reply = request(method, self.address, path, token=self._token)
        if may_lack and reply.status == 404 and reply.text.startswith(f"{may_lack} "):
            return None
        self._judge(reply)
        return reply

    def _mapping(self, reply: Reply) -> dict[str, Any]:
        try:
            value = reply.json()
        except ValueError as error:
            raise self._not_ray() from error
        if not isinstance(value, dict):
            raise self._not_ray()
        return value

    def _judge(self, reply: Reply) -> None:
        """Raises for every status that is not 200."""
        status = reply.status
        if status == 200:
            return
        if status in (401, 403):
            if self._token is None:
                raise ClusterError(
                    f"{self.address} wants a token, and none was found (looked at {_LOOKED}).",
                    hint="Copy the cluster's token into a file of yours (mode 600) and name it in RAY_AUTH_TOKEN_PATH.",
                )
            raise ClusterError(
                f"{self.address} refuses the token ({status}).",
                hint=f"It is another cluster's; it came from the first of {_LOOKED} that is set.",
            )
        if 300 <= status < 400:
            where = (reply.location or "somewhere else").partition("?")[0]
            raise ClusterError(
                f"{self.address} sends us on to {where}; that is not followed, the token is for one address.",
                hint="If that is the dashboard's address, give it; if it is a login page, use an SSH tunnel.",
            )
        if status in (404, 405, 501):
            raise self._not_ray()
        reason = _last_line(reply.text) or "it gave no reason"
        if status >= 500:
            raise ClusterError(f"{self.address} failed with {status}: {reason}")
        raise ClusterError(f"{self.address} refused with {status}: {reason}")

    def _not_ray(self) -> ClusterError:
        return ClusterError(
            f"What listens at {self.address} is not a Ray dashboard.",
            hint="The dashboard's port is 8265 by default (6379 is the GCS, 10001 the Ray client).",
        )


@dataclass(frozen=True)
class Target:
    """The cluster a job goes to.

    Attributes:
        address: Its dashboard's URL.
        token: Its bearer token, if there is one.
        is_local: Whether it is the one dlcluster started on this machine.
        python: The command that runs Python there.
    """

    address: str
    token: str | None
    is_local: bool
    python: str


def find_cluster(
    address: str | None, *, start: bool = True, say: Callable[[str], object] = lambda line: None
) -> Target:
    """The cluster to use: ``address``, else ``DLCLUSTER_ADDRESS``, else the one on this machine.

    Args:
        address: ``--address``, or None.
        start: Whether to start the one on this machine if it is not running.
        say: Takes a line for the user while that happens.

    Returns:
        Where to submit to; a cluster that is not ours has not been asked anything yet.

    Raises:
        UsageError: The address is none, or the token for it can't be read.
        ClusterError: No cluster was named, none runs on this machine, and ``start`` is false or failed.
    """
    named = address or os.environ.get("DLCLUSTER_ADDRESS") or None
    if named is None:
        cluster = local.up(say=say) if start else local.running()
        if cluster is None:
            raise ClusterError(
                "No cluster runs on this machine.",
                hint="Start it with: dlcluster cluster up - or name another one with --address.",
            )
        return _local_target(cluster)
    url = normalize_address(named)
    cluster = local.living()
    if cluster is not None and url.replace("//localhost:", "//127.0.0.1:") == cluster.address:
        return _local_target(cluster)
    return Target(url, find_token(), is_local=False, python=os.environ.get("DLCLUSTER_PYTHON") or "python")


def _local_target(cluster: local.Cluster) -> Target:
    return Target(cluster.address, local.token(cluster), is_local=True, python=cluster.python)


def _job_info(entry: Mapping[str, Any]) -> JobInfo:
    return JobInfo(
        submission_id=str(entry.get("submission_id")),
        status=str(entry["status"]),
        message=entry.get("message"),
        error_type=entry.get("error_type"),
        driver_exit_code=entry.get("driver_exit_code"),
        entrypoint=str(entry.get("entrypoint") or ""),
        metadata=dict(entry.get("metadata") or {}),
        started_at=_time(entry.get("start_time")),
        ended_at=_time(entry.get("end_time")),
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _last_line(text: str) -> str:
    """The last line that says something: of a traceback, its exception; nothing of a web page."""
    if "<html" in text[:1000].lower():
        return "it sent a web page"
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line.strip(".")), "")[:500]
