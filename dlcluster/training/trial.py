"""One attempt at a trial in this process: data, model, restore, train, test, keep the model."""

from __future__ import annotations

import bdb
import os
import socket
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlcluster.data.batches import Samples, WindowSamples
from dlcluster.data.load import load_data
from dlcluster.errors import ComponentError, DlclusterError
from dlcluster.store.checkpoints import checkpoint_name, newest_checkpoint, prune, put_checkpoint
from dlcluster.store.keys import claim_folder
from dlcluster.training.build import build_model, build_training, freeze
from dlcluster.training.checkpoint import STATE_FILE, Saver, Training, restore
from dlcluster.training.ended import Attempt, TrialEnded
from dlcluster.training.finish import keep_model, measure
from dlcluster.training.fit import check_metrics, check_shapes, place
from dlcluster.training.grids import grid_png
from dlcluster.training.loop import Hooks, train
from dlcluster.training.objective import make_objective
from dlcluster.training.ranks import Ranks
from dlcluster.training.start import load_weights

if TYPE_CHECKING:
    from dlcluster.store.objects import Objects

RESIDENT_SHARE = 0.25
"""Data up to this share of a GPU's free memory lies there; larger data is copied batch by batch."""


def run_attempt(
    attempt: Attempt,
    *,
    objects: Objects,
    ranks: Ranks,
    send: Callable[[str, dict[str, Any]], None],
    stop: Callable[[], str | None],
    say: Callable[[str], None],
) -> TrialEnded:
    """Runs one attempt, from reading the data to a tested and stored model.

    A fault of the job or of the user's code is returned, not raised: it would be the same on the next try.
    What may be the fault of the machine (a lost connection, memory) is returned with its cause, too.

    Args:
        attempt: What to run.
        objects: The store, for checkpoints and the model.
        ranks: This process among all that train the trial.
        send: Takes ``(table, row)``; returns at once.
        stop: The reason to stop, or None.
        say: Takes a line for the log.
    """
    try:
        return _run(attempt, objects, ranks, send, stop, say)
    except DlclusterError as error:
        cause = "bad_job" if isinstance(error, ComponentError) else "infrastructure"
        return TrialEnded("FAILED", cause, str(error))
    except torch.OutOfMemoryError as error:
        return TrialEnded("FAILED", "out_of_memory", f"the GPU ran out of memory: {str(error).splitlines()[0]}")
    except MemoryError as error:
        return TrialEnded("FAILED", "out_of_memory", f"this machine ran out of memory: {error}")
    except bdb.BdbQuit:
        return TrialEnded("STOPPED", "stopped", "left from the debugger")
    except (Exception, SystemExit) as error:
        cause = "infrastructure" if _is_connection(error, ranks) else "user_error"
        words = f"{type(error).__name__}: {error}"
        return TrialEnded("FAILED", cause, f"{place(error)}{words}", details=traceback.format_exc())


def _run(
    attempt: Attempt,
    objects: Objects,
    ranks: Ranks,
    send: Callable[[str, dict[str, Any]], None],
    stop: Callable[[], str | None],
    say: Callable[[str], None],
) -> TrialEnded:
    job, began = attempt.job, datetime.now(UTC)
    torch.set_num_threads(attempt.threads)
    if torch.are_deterministic_algorithms_enabled() != job.training.deterministic:
        # Not called for nothing: it loads torch's compiler, two seconds of a worker's start.
        torch.use_deterministic_algorithms(job.training.deterministic)
    torch.manual_seed(job.training.seed)
    data = load_data(job.data)
    for note in data.notes if ranks.leads else ():
        say(note)
    objective = make_objective(job.training, data).to(ranks.device)
    model = build_model(job.model, data)
    if job.model.init_from is not None:
        for line in load_weights(model, objects, job.model.init_from):
            (say if ranks.leads else _quiet)(line)
    freeze(model, job.model.freeze)
    model = model.to(ranks.device)
    check_shapes(model, data, objective, job.model.name, ranks.device)
    splits = {name: _placed(samples, ranks.device) for name, samples in data.splits.items()}
    check_metrics(job, data, objective)
    training = build_training(job, data, model)
    # Weights are the same on all ranks; what each draws from now on (dropout) is its own.
    torch.manual_seed(job.training.seed * 1_000_003 + ranks.rank)
    restored = _restore(attempt, objects, training, ranks, say)
    base = {"trial_id": attempt.trial_id, "attempt": attempt.attempt, "fence": attempt.fence}
    if ranks.leads:
        send("attempts", {**base, **_start_row(training, ranks, began, restored)})
        for row in training.progress.history:
            send("epochs", _timed(row))  # some may have died unflushed with an attempt; equal ones are kept once

    def report(row: dict[str, Any]) -> None:
        # Into the row itself: the history in a checkpoint says which attempt computed an epoch, and when.
        row.update(base, reported_at=datetime.now(UTC).isoformat())
        send("epochs", _timed(row))
        say(epoch_line(row, job.training.epochs))

    def show(epoch: int, pictures: Tensor) -> None:
        if pictures.dim() == 4 and pictures.shape[1] in (1, 3):
            key = f"{claim_folder(attempt.run_id, attempt.fence)}artifacts/{attempt.trial_id}/samples-{epoch:04d}.png"
            objects.put(key, grid_png(pictures))
            say(f"samples of epoch {epoch}: {objects.locate(key)}")

    saver = _saver(attempt, objects, training, say) if ranks.leads else None
    try:
        hooks = Hooks(report=report, stop=stop, saver=saver, show=show if ranks.leads else None)
        ended = train(job, training, splits, objective, ranks, hooks, data.augment)
    finally:
        if saver is not None:
            saver.close()
    progress = training.progress
    row = {
        "num_epochs": len(progress.history),
        "num_steps": progress.step,
        "best_epoch": progress.best_epoch or None,
        "best_value": progress.best_value if progress.best_epoch else None,
        "num_parameters": sum(parameter.numel() for parameter in training.model.parameters()),
    }
    if ended.state == "SUCCEEDED":
        measured, confusion = measure(job, data, splits, training.model, objective, ranks)
        row |= measured
        if ranks.leads:
            row["model_uri"] = keep_model(attempt, objects, training.model, data, ended, confusion, objective, say)
    return TrialEnded(ended.state, ended.cause, ended.reason, row=row)


def _quiet(line: str) -> None:
    del line


def _placed(samples: Samples, device: torch.device) -> Samples:
    if device.type != "cuda" or not len(samples):
        return samples
    tensors = [samples.series] if isinstance(samples, WindowSamples) else [
        value for value in vars(samples).values() if isinstance(value, Tensor)
    ]  # fmt: skip
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    free, _ = torch.cuda.mem_get_info(device)
    return samples.to(device) if size <= free * RESIDENT_SHARE else samples


def _restore(
    attempt: Attempt, objects: Objects, training: Training, ranks: Ranks, say: Callable[[str], None]
) -> str | None:
    """Restores the newest whole checkpoint; all ranks take the one that rank 0 found."""
    found = newest_checkpoint(objects, attempt.run_id, attempt.trial_id) if ranks.leads else None
    for skipped in found.skipped if found else ():
        say(f"checkpoint {skipped} is not whole; an older one is taken")
    name, data = ranks.decide(lambda: (found.name, found.load()[STATE_FILE]) if found else (None, None))
    if data is None:
        return None
    try:
        restore(training, data, rank=ranks.rank)
    except (RuntimeError, KeyError) as error:
        raise ComponentError(f"checkpoint {name} is of another model: {str(error).splitlines()[0]}") from error
    if ranks.leads:
        say(f"restored checkpoint {name}")
    return str(name)


def _saver(attempt: Attempt, objects: Objects, training: Training, say: Callable[[str], None]) -> Saver:
    checkpoint = attempt.job.checkpoint
    written: list[str] = []

    def put(epoch: int, step: int, data: bytes) -> None:
        name = checkpoint_name(attempt.fence, attempt.attempt, epoch, step)
        meta = {"epoch": epoch, "step": step}
        put_checkpoint(objects, attempt.run_id, attempt.trial_id, name, {STATE_FILE: data}, meta)
        written.append(name)
        if len(written) > checkpoint.num_to_keep:
            del written[: -checkpoint.num_to_keep]
            prune(objects, attempt.run_id, attempt.trial_id, attempt.fence, keep=written)

    return Saver(put, min_seconds=checkpoint.min_seconds, say=say)


def _timed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "reported_at": datetime.fromisoformat(row["reported_at"])}


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """One epoch as a line for the log."""
    validation = row.get("validation_loss")
    parts = [f"epoch {row['epoch']}/{epochs}", f"train_loss {row['train_loss']:.6g}"]
    parts += [f"validation_loss {validation:.6g}"] if validation is not None else []
    return "  ".join([*parts, f"{row['samples_per_second']:,.0f} samples/s"])


def _start_row(training: Training, ranks: Ranks, began: datetime, restored: str | None) -> dict[str, Any]:
    return {
        "start_epoch": training.progress.epoch,
        "start_step": training.progress.step,
        "started_at": began,
        "state": "RUNNING",
        "num_workers": ranks.world,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else "cpu",
        "restored_from": restored,
    }


def _is_connection(error: BaseException, ranks: Ranks) -> bool:
    """Whether an error looks like the loss of another rank rather than a fault in the user's code."""
    if ranks.world == 1:
        return False
    if isinstance(error, torch.distributed.DistError):
        return True
    text = str(error).lower()
    signs = (
        "gloo",
        "nccl",
        "connection closed by peer",
        "connection reset by peer",
        "broken pipe",
        "process group",
    )
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)
