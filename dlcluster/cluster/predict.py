"""Makes a job that predicts ready to be sent: which run is meant, whether it has a model, and the code it had."""

from __future__ import annotations

import atexit
import io
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlcluster.cluster.package import Package, build_package, unpack
from dlcluster.data.predictions import OutFolder
from dlcluster.errors import ComponentError, ObjectNotFound, UsageError
from dlcluster.models.named import is_own
from dlcluster.spec import TrainJob, job_from_kept
from dlcluster.store.code_packages import get_code
from dlcluster.store.fence import newest_fence, read_fence
from dlcluster.store.objects import open_objects
from dlcluster.store.read import resolve
from dlcluster.store.tables import table

if TYPE_CHECKING:
    from dlcluster.spec import PredictJob
    from dlcluster.store.fence import Fence
    from dlcluster.store.objects import Objects

_MODELS = "/v1/models/"
_NEEDED = "dlcluster/driver/predict.py"
"""What a code package must have to predict; one of an earlier version has not."""


@dataclass(frozen=True)
class Trained:
    """The run whose model predicts.

    Attributes:
        named: Its id, or the model's uri.
        objects: The store it lies in.
        fence: Its newest claim; None when the store has nothing of it but the model.
    """

    named: str
    objects: Objects
    fence: Fence | None

    @property
    def job(self) -> TrainJob | None:
        """The job that trained it."""
        job = None if self.fence is None else job_from_kept(self.fence.job)
        return job if isinstance(job, TrainJob) else None

    @property
    def uses_own_code(self) -> bool:
        """Whether its model is the user's own; where the job is not known, it may be."""
        return self.job is None or is_own(self.job.model.name)


def trained_by(objects: Objects, named: str) -> Trained:
    """Finds the run whose model is meant.

    Args:
        objects: The store that a run's id refers to.
        named: A run's id, the beginning of one, ``latest``, or a model's uri.

    Raises:
        RunNotFound: There is no such run.
        ComponentError: It has no model.
    """
    if _MODELS in named:
        root, _, rest = named.rstrip("/").partition(_MODELS)
        store, run_id = open_objects(root), rest.partition("/")[0]
        try:
            store.get(f"models/{rest}/config.json")
        except ObjectNotFound:
            raise ComponentError(f"predict.run: {named}: there is no model") from None
        n = newest_fence(store, run_id)
        return Trained(named.rstrip("/"), store, read_fence(store, run_id, n) if n else None)
    if "/" in named:
        raise UsageError(
            f"predict.run: {named} is no model's uri", hint="Give a run's id, or the model of: dlcluster results RUN"
        )
    run_id = _newest_trained(objects) if named == "latest" else resolve(objects, named)
    found = Trained(run_id, objects, read_fence(objects, run_id, newest_fence(objects, run_id)))
    if found.job is None:
        kind = found.fence.job.get("kind") if found.fence else None
        raise ComponentError(f"predict.run: {run_id} is a run of kind {kind}: it has no model")
    if not any(row["model_uri"] for row in table(objects, "trials", run_id, ["model_uri"]).to_pylist()):
        raise ComponentError(
            f"predict.run: {run_id} has no model: it has not ended well, or not yet",
            hint=f"dlcluster show {run_id}",
        )
    return found


def _newest_trained(objects: Objects) -> str:
    """The newest run that trained: what was predicted since does not count."""
    run_id = resolve(objects, "latest")
    runs = sorted(objects.list_folders("runs/"), reverse=True)
    for one in runs:
        n = newest_fence(objects, one)
        if n and (read_fence(objects, one, n).job.get("kind") or "train") != "predict":
            return one
    return run_id


def settled(job: PredictJob, trained: Trained, folder: Path) -> PredictJob:
    """Makes a job mean the same wherever and whenever it is run.

    Args:
        job: As it was written.
        trained: The run whose model it uses.
        folder: The folder it is submitted from.

    Raises:
        DataError: When the folder it writes to holds files already.
    """
    predict = job.predict.model_copy(
        update={
            "run": _absolute(trained.named, folder) if _MODELS in trained.named else trained.named,
            "data": _absolute(job.predict.data, folder),
            "out": _absolute(job.predict.out, folder),
        }
    )
    OutFolder(predict.out, "no run yet").refuse_used()
    update: dict[str, object] = {"predict": predict}
    if trained.job is not None and not job.runtime_env.pip:
        update["runtime_env"] = job.runtime_env.model_copy(update={"pip": trained.job.runtime_env.pip})
    return job.model_copy(update=update)


def _absolute(path: str, folder: Path) -> str:
    return path if "://" in path else str((folder / Path(path).expanduser()).resolve())


def code_of(trained: Trained, job: PredictJob, folder: Path) -> Package:
    """Packs the code that made the model; of a run with ``--local``, the folder it is submitted from.

    Args:
        trained: The run whose model it uses.
        job: The job.
        folder: The folder it is submitted from.

    Raises:
        UsageError: When a folder cannot be packed.
        StoreError: When the run's package cannot be read.
    """
    sha256 = None if trained.fence is None else trained.fence.code_sha256
    if job.runtime_env.working_dir is not None:
        return build_package(folder / job.runtime_env.working_dir)
    if sha256 is None:
        return build_package(folder if trained.uses_own_code else None)
    data = get_code(trained.objects, sha256)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    if _NEEDED in names:
        return Package(data, sha256, len(names), [])
    with tempfile.TemporaryDirectory(prefix="dlcluster-code-") as temporary:
        _unpack_own(data, Path(temporary))
        return build_package(Path(temporary))


def own_code(trained: Trained, folder: Path) -> Path:
    """Finds the folder with the user's own code for a model that predicts in this process.

    Args:
        trained: The run whose model it is.
        folder: The folder it is submitted from; what a run with ``--local`` was made with.
    """
    sha256 = None if trained.fence is None else trained.fence.code_sha256
    if sha256 is None or not trained.uses_own_code:
        return folder
    own = Path(tempfile.mkdtemp(prefix="dlcluster-code-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    _unpack_own(get_code(trained.objects, sha256), own)
    return own


def _unpack_own(data: bytes, folder: Path) -> None:
    """Unpacks a user's own files, without dlcluster's, which this process has already."""
    unpack(data, folder)
    shutil.rmtree(folder / "dlcluster", ignore_errors=True)
