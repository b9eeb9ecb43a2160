"""``dlcluster.submit`` and ``dlcluster.open``: what the command line does, from Python."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcluster.cluster.ending import dead_reason
from dlcluster.cluster.ending import stop as stop_run
from dlcluster.cluster.predict import own_code, settled, trained_by
from dlcluster.cluster.submit import put_claim, resume, secret_values, send, storage_uri
from dlcluster.errors import ExitCode, Fault, JobFileError, RunEnded, UsageError
from dlcluster.results.follow import Update, follow
from dlcluster.results.summary import results
from dlcluster.spec import Job, PredictJob, TrainJob, any_job_from_dict, job_warnings, load_any_job
from dlcluster.store import Store, open_store
from dlcluster.store.read import RunView, view
from dlcluster.training.components import check_names

if TYPE_CHECKING:
    from dlcluster.store.objects import Objects


def _quiet(line: str) -> None:
    del line


def load(
    job: str | os.PathLike[str] | Mapping[str, Any] | TrainJob,
    *,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
) -> TrainJob:
    """Reads and checks a job to train; see `load_any`.

    Raises:
        JobFileError: With every fault, or because it is a job of another kind.
    """
    checked = load_any(job, overrides=overrides, folder=folder)
    if not isinstance(checked, TrainJob):
        raise JobFileError([Fault("<job>", "kind", f"must be train here (got {checked.kind})")])
    return checked


def load_any(
    job: str | os.PathLike[str] | Mapping[str, Any] | Job,
    *,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
) -> Job:
    """Reads and checks a job of any kind, names and parameters of its components included.

    Args:
        job: Path of a job file, its content as a mapping, or a job.
        overrides: Such as ``training.epochs=3``.
        folder: Where the user's own modules are; default the current folder.

    Raises:
        JobFileError: With every fault.
    """
    where = folder or Path.cwd()
    checks = [lambda raw: [] if raw.get("kind") == "predict" else check_names(raw, where)]
    if isinstance(job, TrainJob | PredictJob):
        job = job.model_dump(mode="json")
    if isinstance(job, Mapping):
        return any_job_from_dict(job, checks=checks)
    return load_any_job(job, overrides=overrides, checks=checks)


@dataclass(frozen=True)
class Run:
    """One run, wherever it is: everything about it is read from the store.

    Attributes:
        run_id: Its id.
        objects: The store's objects.
        warnings: What was said when it was submitted.
    """

    run_id: str
    objects: Objects
    warnings: tuple[str, ...] = ()

    @property
    def view(self) -> RunView:
        """The run as it is now."""
        return view(self.objects, self.run_id)

    @property
    def state(self) -> str:
        """``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``."""
        return self.view.state

    @property
    def results(self) -> dict[str, Any]:
        """Trials, epochs and where the Parquet lies."""
        return results(self.objects, self.view)

    def follow(self, *, logs: bool = False) -> Iterator[Update]:
        """Yields what is new until the run has ended."""
        return follow(
            self.objects,
            self.run_id,
            logs=logs,
            dead=lambda: dead_reason(view(self.objects, self.run_id), self.objects),
        )

    def wait(self, timeout: float | None = None) -> RunView:
        """Waits until the run has ended.

        Args:
            timeout: Seconds; None waits for ever.

        Raises:
            RunEnded: When it ended otherwise than well.
            TimeoutError: When it still goes on after ``timeout``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        last: RunView | None = None
        for update in follow(
            self.objects,
            self.run_id,
            dead=lambda: dead_reason(view(self.objects, self.run_id), self.objects),
            until=deadline,
        ):
            last = update.view or last
        if last is None or last.exit_code is None:
            raise TimeoutError(f"run {self.run_id} has not ended after {timeout:g} s")
        if last.exit_code != ExitCode.SUCCEEDED:
            raise RunEnded(f"{last.state}: {last.reason}", ExitCode(last.exit_code))
        return last

    def resume(
        self,
        *,
        address: str | None = None,
        insecure: bool = False,
        take_over: bool = False,
        say: Callable[[str], None] = _quiet,
    ) -> Run:
        """Goes on with a run that ended before its work was done, from its newest checkpoint."""
        resume(self.objects, self.view, address=address, insecure=insecure, take_over=take_over, say=say)
        return self

    def stop(self, reason: str = "", *, say: Callable[[str], None] = _quiet) -> RunView:
        """Stops the run; it ends sealed, with its rows."""

        def wait(seconds: float) -> RunView:
            for _ in follow(self.objects, self.run_id, until=time.monotonic() + seconds):
                pass
            return self.view

        return stop_run(self.objects, self.view, reason=reason, wait=wait, say=say)


def submit(
    job: str | os.PathLike[str] | Mapping[str, Any] | Job,
    *,
    storage: str | None = None,
    address: str | None = None,
    local: bool = False,
    overrides: Sequence[str] = (),
    insecure: bool = False,
    say: Callable[[str], None] = _quiet,
) -> Run:
    """Submits a job and returns at once; with ``local`` it is run in this process and has ended then.

    Args:
        job: Path of a job file, its content as a mapping, or a job.
        storage: Where results go, before what the job says.
        address: The cluster's dashboard; default ``DLCLUSTER_ADDRESS``, else one on this machine, started if need be.
        local: Run it here, without Ray.
        overrides: Such as ``training.epochs=3``.
        insecure: Allow plain http to another machine without a token.
        say: Takes a line for people.

    Raises:
        JobFileError: With every fault of the job file; nothing was sent.
        DlclusterError: When the cluster or the store is away or refuses.
    """
    folder = Path.cwd()
    checked = load_any(job, overrides=overrides, folder=folder)
    warnings = job_warnings(checked)
    if local:
        return _run_here(checked, storage, folder, warnings, say)
    sent = send(
        checked,
        storage=storage,
        address=address,
        folder=folder,
        insecure=insecure,
        warnings=warnings,
        say=say,
    )
    return Run(sent.fence.run_id, sent.objects, tuple(sent.warnings))


def predict(
    run: str,
    *,
    data: str,
    out: str,
    format: str | None = None,
    batch_size: int = 1024,
    resources: Mapping[str, Any] | None = None,
    storage: str | None = None,
    address: str | None = None,
    local: bool = False,
    insecure: bool = False,
    say: Callable[[str], None] = _quiet,
) -> Run:
    """Submits a job that predicts with a run's model; see `submit`.

    Args:
        run: A run's id, the beginning of one, ``latest``, or a model's uri.
        data: A file, folder or glob, local, ``s3://`` or ``https://``.
        out: A folder or ``s3://bucket/prefix`` without files; it gets Parquet, and ``_SUCCESS`` once it is whole.
        format: ``csv``, ``parquet``, ``images`` or ``text``; default by the files' ending.
        batch_size: Rows the model is given at once.
        resources: As in a job file.
        storage: The store with the run, which keeps this one too.
        address: The cluster's dashboard.
        local: Predict here, without Ray.
        insecure: Allow plain http to another machine without a token.
        say: Takes a line for people.

    Raises:
        DlclusterError: There is no such run, it has no model, ``out`` holds files, or the cluster or store refuses.
    """
    from dlcluster.store.objects import open_objects

    trained = trained_by(open_objects(storage_uri(None, storage)), run)
    wanted = {"run": trained.named, "data": data, "out": out, "batch_size": batch_size}
    job = {
        "version": 1,
        "name": f"predict-{trained.job.name if trained.job else 'model'}"[:40].rstrip("-"),
        "kind": "predict",
        "predict": {**wanted, "format": format} if format is not None else wanted,
        "resources": dict(resources or {}),
    }
    return submit(job, storage=storage, address=address, local=local, insecure=insecure, say=say)


def _run_here(job: Job, storage: str | None, folder: Path, warnings: list[str], say: Callable[[str], None]) -> Run:
    from dlcluster.driver.local import run_local
    from dlcluster.store.objects import open_objects

    if job.resources.num_workers > 1:
        raise UsageError(
            "--local runs one worker in this process",
            hint="Add --set resources.num_workers=1, or leave --local out.",
        )
    env = {**job.env, **secret_values(job)}
    objects = open_objects(storage_uri(job, storage))
    work_folder = folder / (job.runtime_env.working_dir or ".")
    if isinstance(job, PredictJob):
        trained = trained_by(objects, job.predict.run)
        job = settled(job, trained, folder)
        work_folder = own_code(trained, work_folder)
    fence = put_claim(objects, job, code_sha256=None, address=None, warnings=warnings)
    say(f"run {fence.run_id} in this process")
    run_local(objects, fence, job, folder=work_folder, env=env, say=say)
    return Run(fence.run_id, objects, tuple(warnings))


def open(uri: str | None = None) -> Store:
    """Opens a store.

    Args:
        uri: A folder or ``s3://bucket/prefix``; default ``DLCLUSTER_STORAGE``, else ``./results``.
    """
    return open_store(storage_uri(None, uri))
