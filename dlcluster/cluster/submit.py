"""Sends a job: its code and its claim into the store, then the driver to the cluster."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dlcluster.cluster.ending import dead_reason, settle, who
from dlcluster.cluster.jobs import Jobs, Target, find_cluster
from dlcluster.cluster.package import build_package
from dlcluster.cluster.predict import code_of, settled, trained_by
from dlcluster.cluster.rest import is_loopback
from dlcluster.errors import ClusterError, ExitCode, UsageError
from dlcluster.spec import Job, PredictJob, TrainJob, job_from_kept
from dlcluster.store.code_packages import get_code, put_code
from dlcluster.store.fence import Fence, claim, new_run_id, submission_id
from dlcluster.store.objects import open_objects
from dlcluster.store.state import RunState, write_state

if TYPE_CHECKING:
    from dlcluster.store.objects import Objects
    from dlcluster.store.read import RunView

_STORE_VARIABLES = ("AWS_", "DLCLUSTER_HEARTBEAT_SECONDS")


@dataclass(frozen=True)
class Sent:
    """A job that is on its way.

    Attributes:
        fence: Its claim.
        objects: The store.
        address: The dashboard, or None for a run in this process.
        warnings: What was left out or is ignored.
    """

    fence: Fence
    objects: Objects
    address: str | None
    warnings: list[str]


def storage_uri(job: Job | None, storage: str | None) -> str:
    """Returns where results go: the option, else the job file, else ``DLCLUSTER_STORAGE``, else ``./results``."""
    return storage or (job.storage.path if job else None) or os.environ.get("DLCLUSTER_STORAGE") or "results"


def secret_values(job: Job) -> dict[str, str]:
    """Takes the job's secrets from this process's environment.

    Raises:
        UsageError: Naming all that are not set.
    """
    missing = [name for name in job.secrets if name not in os.environ]
    if missing:
        raise UsageError(
            f"secrets: {', '.join(missing)} not set in your environment",
            hint=f"Set it first: export {missing[0]}=...",
        )
    return {name: os.environ[name] for name in job.secrets}


def send(
    job: Job,
    *,
    storage: str | None,
    address: str | None,
    folder: Path,
    insecure: bool = False,
    warnings: list[str] | None = None,
    say: Callable[[str], None],
) -> Sent:
    """Sends a job to a cluster; returns once Ray has it.

    Args:
        job: The checked job.
        storage: ``--storage``, or None.
        address: ``--address``, or None.
        folder: The folder it is submitted from.
        insecure: Allow plain http to another machine without a token.
        warnings: About the job file, to be kept with the run.
        say: Takes a line for the user.

    Raises:
        UsageError: The job cannot run there: too large for this machine, secrets missing, a folder nobody shares.
        ClusterError: The cluster is away or refuses; the run is then sealed as FAILED.
        StoreError: The store is away or refuses.
    """
    values = secret_values(job)
    uri = storage_uri(job, storage)
    objects = open_objects(uri)
    if isinstance(job, PredictJob):
        trained = trained_by(objects, job.predict.run)
        job = settled(job, trained, folder)
        package = code_of(trained, job, folder)
    else:
        package = build_package(_traveling_folder(job, folder), exclude=_local_folder(uri))
        job = _absolute(job, folder)
    target = find_cluster(address, say=say)
    if target.is_local:
        _refuse_too_large(job, target)
    else:
        _refuse_unshared(job, uri)
    put_code(objects, package.sha256, package.data)
    notes = [*(warnings or []), *package.warnings]
    fence = put_claim(objects, job, code_sha256=package.sha256, address=target.address, warnings=notes)
    _start_driver(objects, fence, job, target, package.data, values, insecure)
    return Sent(fence, objects, target.address, notes)


def resume(
    objects: Objects,
    view: RunView,
    *,
    address: str | None,
    insecure: bool = False,
    take_over: bool = False,
    say: Callable[[str], None],
) -> Sent:
    """Goes on with a run that ended before its work was done, from its newest checkpoint, with the code it had.

    Args:
        objects: The store.
        view: The run as it is now.
        address: ``--address``, or None.
        insecure: Allow plain http to another machine without a token.
        take_over: Take it from a driver that may still be alive.
        say: Takes a line for the user.

    Raises:
        UsageError: The run is still going, or has succeeded.
        ClusterError: The cluster is away or refuses; the claim is then sealed as FAILED.
    """
    last = view.fence
    if last is None or view.state == "SUCCEEDED":
        raise UsageError(f"{view.run_id} has succeeded; there is nothing left to do")
    if view.exit_code is None and not take_over and dead_reason(view, objects) is None:
        raise UsageError(
            f"{view.run_id} is {view.state}",
            hint="Stop it first: dlcluster stop; or, if its driver cannot be reached, add --take-over.",
        )
    if last.code_sha256 is None:
        raise UsageError(f"{view.run_id} was run with --local; its code is not in the store")
    job = job_from_kept(last.job)
    values = secret_values(job)
    data = get_code(objects, last.code_sha256)
    target = find_cluster(address or _again(last.address), say=say)
    now, n = datetime.now(UTC), last.n + 1
    fence = claim(
        objects,
        last.model_copy(
            update={
                "n": n, "action": "resume", "created_at": now, "created_by": who(), "address": target.address,
                "submission_id": submission_id(view.run_id, n), "warnings": [],
            }
        ),
    )  # fmt: skip
    write_state(objects, view.run_id, n, RunState(state="PENDING", reason="resumed", owner="client", counter=1))
    _start_driver(objects, fence, job, target, data, values, insecure)
    return Sent(fence, objects, target.address, [])


def _again(address: str | None) -> str | None:
    """The cluster a run was sent to, unless that was one on this machine, which may have other ports by now."""
    return None if address is None or is_loopback(address) else address


def _start_driver(
    objects: Objects,
    fence: Fence,
    job: Job,
    target: Target,
    code: bytes,
    values: dict[str, str],
    insecure: bool,
) -> None:
    """Sends code and secrets to the cluster, and starts the driver there.

    Raises:
        ClusterError: The cluster is away or refuses; the claim is then sealed as FAILED.
    """
    package = f"_ray_pkg_{fence.code_sha256[:32]}.zip" if fence.code_sha256 else ""
    try:
        jobs = Jobs(target.address, target.token, insecure=insecure)
        jobs.upload(package, code)
        arguments = [
            target.python,
            "-m",
            "dlcluster.driver",
            f"{objects.uri}/v1/runs/{fence.run_id}",
            str(fence.n),
        ]
        store_values = _store_environment() if target.is_local else {}
        if values or store_values:
            arguments.append(jobs.put_secret(json.dumps({"secrets": values, "store": store_values}).encode()))
        runtime_env: dict[str, object] = {"working_dir": f"gcs://{package}"}
        if job.runtime_env.pip:
            runtime_env["pip"] = list(job.runtime_env.pip)
        about = {"job_name": job.name, "store": objects.uri}  # job_name is what Ray's dashboard shows
        jobs.submit(shlex.join(arguments), fence.submission_id, runtime_env, about)
    except ClusterError as error:
        settle(objects, fence, f"could not be submitted: {error.message}", ExitCode.UNREACHABLE)
        raise


def put_claim(
    objects: Objects, job: Job, *, code_sha256: str | None, address: str | None, warnings: list[str]
) -> Fence:
    """Makes a new run in the store, PENDING under its first claim."""
    now = datetime.now(UTC)
    run_id = new_run_id(job.name, now=now)
    fence = claim(
        objects,
        Fence(
            run_id=run_id,
            n=1,
            action="submit",
            job=job.model_dump(mode="json"),
            num_trials_expected=1 if isinstance(job, TrainJob) else 0,
            code_sha256=code_sha256,
            submitted_at=now,
            created_at=now,
            created_by=who(),
            submission_id=run_id,
            address=address,
            warnings=warnings,
        ),
    )
    write_state(objects, run_id, 1, RunState(state="PENDING", reason="submitted", owner="client", counter=1))
    return fence


def _traveling_folder(job: TrainJob, folder: Path) -> Path | None:
    """The user's folder, when the job needs anything of it."""
    if job.runtime_env.working_dir is not None:
        return folder / job.runtime_env.working_dir
    named = (job.model.name, job.data.name, job.training.loss, *job.training.metrics)
    return folder if any(name is not None and ":" in name for name in named) else None


def _local_folder(uri: str) -> list[Path]:
    return [] if "://" in uri and not uri.startswith("file://") else [Path(uri.removeprefix("file://"))]


def _absolute(job: TrainJob, folder: Path) -> TrainJob:
    """Makes local paths mean the same wherever the worker's current folder is."""

    def absolute(path: str | None) -> str | None:
        if path is None or "://" in path:
            return path
        return str((folder / Path(path).expanduser()).resolve())

    data, model = job.data, job.model
    files = data.split.files.model_copy(
        update={"validation": absolute(data.split.files.validation), "test": absolute(data.split.files.test)}
    )
    split = data.split.model_copy(update={"files": files})
    if model.init_from is not None and "/" in model.init_from:  # a model's uri; else a run's id
        model = model.model_copy(update={"init_from": absolute(model.init_from)})
    return job.model_copy(
        update={"data": data.model_copy(update={"path": absolute(data.path), "split": split}), "model": model}
    )


def _refuse_too_large(job: Job, target: Target) -> None:
    """Refuses what this machine can never give, rather than let it wait for ever."""
    from dlcluster.cluster.local import running

    cluster, resources = running(), job.resources
    if cluster is None:
        return
    cpus = resources.num_workers * resources.cpus_per_worker
    if cpus > cluster.num_cpus:
        raise UsageError(
            f"resources: {resources.num_workers} workers with {resources.cpus_per_worker:g} CPUs each are "
            f"{cpus:g}; the cluster on this machine has {cluster.num_cpus:g}",
            hint="Ask for less, name a larger cluster with --address, or: dlcluster cluster down && "
            f"dlcluster cluster up --num-cpus {cpus:g}",
        )


def _refuse_unshared(job: Job, uri: str) -> None:
    if not _local_folder(uri) or job.storage.shared:
        return
    raise UsageError(
        f"storage: {uri} is a folder of this machine, which the cluster does not share",
        hint="Use s3://bucket/prefix; or, if it is mounted at the same place on all machines: storage.shared: true",
    )


def _store_environment() -> Mapping[str, str]:
    """What this process reaches the store with; a cluster on this machine may have been started without it."""
    return {name: value for name, value in os.environ.items() if name.startswith(_STORE_VARIABLES)}
