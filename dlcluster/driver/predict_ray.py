"""Predicts on the cluster by Ray Data: its actors hold the model, and take one piece after the other."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray import cloudpickle

from dlcluster.data.lines import How
from dlcluster.data.locate import File
from dlcluster.data.pieces import Piece, Scan, scan
from dlcluster.driver.actor import actor_options, died_words, first_line
from dlcluster.driver.output import Tee
from dlcluster.driver.predict import Progress
from dlcluster.training.ended import TrialEnded

if TYPE_CHECKING:
    from dlcluster.driver.predictor import Work

_RAYS_OWN = (":actor_name:", ":task_name:", ":job_id:")
"""What Ray prints to tell whose lines follow."""
_SCANNED_HERE_BYTES = 16 * 2**20
_SCANS = 64
"""Files looked through by one task: most are small."""


class RayRunner:
    """Runs attempts by Ray Data.

    A piece is read, predicted and written by one actor, which tells in a row what it did: no table goes through the
    object store, and a file's name says which piece it is. Ray Data deals pieces to actors and starts those; its own
    retries are off, as progress and retries are the driver's.

    Args:
        resources: The job's ``resources`` section.
        env: Environment variables to set before anything else is imported.
        secrets: Further ones, whose values are masked in what is printed.
        print_line: Takes a line that a worker printed.
    """

    def __init__(
        self,
        resources: Any,
        env: Mapping[str, str],
        secrets: Mapping[str, str],
        print_line: Callable[[str], None],
    ) -> None:
        self.resources, self.env, self.secrets, self.print_line = resources, env, secrets, print_line

    def scan(self, files: Sequence[File], how: How) -> list[Scan]:
        """Looks through all files: large texts, of which each byte is read, by tasks that need a CPU each."""
        if how.format in ("images", "parquet") or sum(file.size for file in files) <= _SCANNED_HERE_BYTES:
            with ThreadPoolExecutor(16) as pool:
                return list(pool.map(lambda file: scan(file, how), files))
        groups = [list(files[start : start + _SCANS]) for start in range(0, len(files), _SCANS)]
        task = ray.remote(_scan).options(num_cpus=min(1.0, self.resources.cpus_per_worker), max_retries=3)
        found: list[Scan] = []
        for scans, error in ray.get([task.remote(group, how, dict(self.env)) for group in groups]):
            if error is not None:
                raise error
            found += scans
        return found

    def run(self, work: Work, pieces: Sequence[Piece], progress: Progress) -> TrialEnded:
        """Predicts pieces until all are done, one fails, or the run is to stop; no pieces: a whole series."""
        claim, box = progress.claim, list[TrialEnded]()
        thread = threading.Thread(
            target=lambda: box.append(self._run(work, pieces, progress)), name="predict", daemon=True
        )
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.3)
            if claim.stop is not None:
                # The actors end with this process, which owns them; the files under way are not kept.
                return TrialEnded("STOPPED", "stopped", claim.stop.reason)
        return box[0]

    def _run(self, work: Work, pieces: Sequence[Piece], progress: Progress) -> TrialEnded:
        import ray.data

        _quiet()
        options = {name: value for name, value in actor_options(self.resources).items() if name != "max_task_retries"}
        items = [_bytes(piece) for piece in pieces] or [b""]
        call = WorkerCall(work, dict(self.env), dict(self.secrets), self.resources.gpus_per_worker > 0)
        try:
            asked = ray.data.from_arrow([pa.table({"piece": pa.array([item], pa.large_binary())}) for item in items])
            told = asked.map_batches(
                Worker,
                batch_size=1,
                batch_format="pyarrow",
                fn_constructor_args=(call,),
                compute=ray.data.ActorPoolStrategy(
                    size=min(self.resources.num_workers, len(items)), max_tasks_in_flight_per_actor=2
                ),
                **options,
            )
            for row in told.iter_rows():
                ended = self._told(row, progress)
                if ended is not None:
                    return ended
        except Exception as error:
            return _lost(error)
        return TrialEnded("SUCCEEDED")

    def _told(self, row: Mapping[str, Any], progress: Progress) -> TrialEnded | None:
        for line in row["lines"]:
            if not line.startswith(_RAYS_OWN):
                self.print_line(line)
        if row["ended"]:
            ended: TrialEnded = cloudpickle.loads(row["ended"])
            return ended
        progress.done.add(row["number"])
        progress.add(row["rows"])
        return None


@dataclass(frozen=True)
class WorkerCall:
    """All a worker process is told.

    Attributes:
        work: What to do.
        env: Environment variables to set before anything else is imported.
        secrets: Further ones, whose values are masked in what is printed.
        gpu: Whether it was asked for with one.
    """

    work: Work
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    gpu: bool

    def __repr__(self) -> str:
        """Without values: Ray prints arguments in error messages."""
        return f"WorkerCall({self.work.model!r})"


class Worker:
    """What Ray Data makes an actor of.

    Whatever goes wrong becomes a row, as an exception would reach the driver in Ray's words.

    Args:
        call: All it is told.
    """

    def __init__(self, call: WorkerCall) -> None:
        os.environ.update(call.env)
        os.environ.update(call.secrets)
        self.lines: list[str] = []
        values = list(call.secrets.values())
        sys.stdout = Tee(sys.stdout, self.lines.append, values)
        sys.stderr = Tee(sys.stderr, self.lines.append, values)
        import torch

        from dlcluster.driver.predictor import Predictor, ended_by

        self.ended: TrialEnded | None = None
        try:
            gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
            self.predictor = Predictor(call.work, torch.device("cuda:0" if call.gpu and gpus else "cpu"))
        except (Exception, SystemExit) as error:
            self.ended = ended_by(error)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Predicts the pieces of a batch.

        Yields:
            A row for each: its number, how many rows it had, what was printed, and how it ended if not well.
        """
        from dlcluster.driver.predictor import ended_by

        for item in batch["piece"].to_pylist():
            piece: Piece | None = cloudpickle.loads(item) if item else None
            rows = 0
            if self.ended is None:
                try:
                    for more in self.predictor.series() if piece is None else self.predictor.piece(piece):
                        rows += more
                except (Exception, SystemExit) as error:
                    self.ended = ended_by(error)
            lines, self.lines[:] = list(self.lines), []
            yield pa.table(
                {
                    "number": [-1 if piece is None else piece.number],
                    "rows": [rows],
                    "lines": pa.array([lines], pa.list_(pa.string())),
                    "ended": pa.array([None if self.ended is None else _bytes(self.ended)], pa.binary()),
                }
            )


def _scan(files: list[File], how: How, env: Mapping[str, str]) -> tuple[list[Scan], Exception | None]:
    os.environ.update(env)
    try:
        return [scan(file, how) for file in files], None
    except Exception as error:
        return [], error


def _bytes(value: object) -> bytes:
    dumped: bytes = cloudpickle.dumps(value)  # type: ignore[no-untyped-call]
    return dumped


def _quiet() -> None:
    """Keeps the driver's log for people: Ray Data's progress bars, plans and statistics are in its dashboard."""
    from ray.util.annotations import RayDeprecationWarning

    # max_restarts can be said in no other way: Ray Data starts lost actors again without end.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
    context: Any = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _lost(error: Exception) -> TrialEnded:
    """A worker that told nothing: it died, or never came to be."""
    from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OutOfMemoryError):
            return TrialEnded("FAILED", "out_of_memory", f"a worker's node ran out of memory: {first_line(seen)}")
        if isinstance(seen, ActorDiedError) and getattr(seen, "preempted", False):
            return TrialEnded("FAILED", "preemption", "a worker's node was preempted")
        if isinstance(seen, RayActorError):
            return TrialEnded("FAILED", "infrastructure", f"a worker died: {died_words(seen)}")
        seen = getattr(seen, "cause", None) or seen.__cause__
    return TrialEnded("FAILED", "infrastructure", f"{type(error).__name__}: {first_line(error)}", details=str(error))
