"""One attempt at a trial in this process: data, model, restore, train, test, keep the model."""

from __future__ import annotations

import bdb
import json
import os
import socket
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlcluster.data.batches import Samples, WindowSamples
from dlcluster.data.load import load_data
from dlcluster.errors import ComponentError, DlclusterError
from dlcluster.models.catalog import make_model
from dlcluster.store.checkpoints import checkpoint_name, newest_checkpoint, prune, put_checkpoint
from dlcluster.training.checkpoint import STATE_FILE, Saver, Training, restore
from dlcluster.training.ended import Attempt, TrialEnded
from dlcluster.training.loop import Ended, Hooks, autocast_for, evaluate, train
from dlcluster.training.objective import Objective, make_objective
from dlcluster.training.optim import make_lr_scheduler, make_optimizer
from dlcluster.training.ranks import Ranks

if TYPE_CHECKING:
    from torch import nn

    from dlcluster.data.prepared import Prepared
    from dlcluster.spec import TrainJob
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
        return TrialEnded("FAILED", cause, f"{_place(error)}{words}", details=traceback.format_exc())


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
    torch.use_deterministic_algorithms(job.training.deterministic)
    torch.manual_seed(job.training.seed)
    data = load_data(job.data)
    for note in data.notes if ranks.leads else ():
        say(note)
    objective = make_objective(data.task, job.training.loss, job.training.metrics, data.unit_scale).to(ranks.device)
    model = make_model(job.model.name, job.model.params, data.shapes)
    model = model.to(ranks.device)
    check_shapes(model, data, objective, job.model.name, ranks.device)
    splits = {name: _placed(samples, ranks.device) for name, samples in data.splits.items()}
    _check_metrics(job, data, objective)
    steps = -(-len(splits["train"]) // job.training.global_batch_size) * job.training.epochs
    optimizer = make_optimizer(job.training.optimizer, model, compiled=job.training.compile)
    training = Training(
        model,
        optimizer,
        make_lr_scheduler(job.training.lr_scheduler, optimizer, steps),
        torch.amp.GradScaler(
            ranks.device.type, enabled=job.training.precision == "fp16" and ranks.device.type == "cuda"
        ),
    )
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

    saver = _saver(attempt, objects, training, say) if ranks.leads else None
    try:
        ended = train(job, training, splits, objective, ranks, Hooks(report=report, stop=stop, saver=saver))
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
        row |= _test(job, data, splits, training.model, objective, ranks)
        if ranks.leads:
            row["model_uri"] = _keep_model(attempt, objects, training.model, data, ended)
    return TrialEnded(ended.state, ended.cause, ended.reason, row=row)


def check_shapes(model: nn.Module, data: Prepared, objective: Objective, name: str, device: torch.device) -> None:
    """Runs one sample through model and loss, so that a misfit is said in words before training.

    Raises:
        ComponentError: With both shapes.
    """
    x, y = (part.to(device) for part in data.splits["train"].gather(torch.arange(min(2, len(data.splits["train"])))))
    state, was_training = torch.get_rng_state(), model.training
    model.eval()  # batch norm cannot train on so few samples, and must not learn from them
    try:
        with torch.no_grad():
            prediction = model(x)
            if isinstance(prediction, Tensor) and tuple(prediction.shape[1:]) != data.output_shape:
                raise ComponentError(
                    f"model {name} predicts shape {tuple(prediction.shape)} for x {tuple(x.shape)}, but the data needs "
                    f"{(len(x), *data.output_shape)} (y is {tuple(y.shape)})"
                )
            loss = objective.loss(prediction, y)
            if not isinstance(loss, Tensor) or loss.dim() != 0:
                shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise ComponentError(f"training.loss must return one number for a batch, not {shape}")
            objective.sums(prediction, y)
    except (ComponentError, bdb.BdbQuit):
        raise
    except (Exception, SystemExit) as error:
        raise ComponentError(
            f"model {name} does not work on this data: {_place(error)}{type(error).__name__}: {error}",
            hint=f"x is {tuple(x.shape)}, y is {tuple(y.shape)}, predictions must be {(len(x), *data.output_shape)}.",
        ) from error
    finally:
        model.train(was_training)
        torch.set_rng_state(state)


def _check_metrics(job: TrainJob, data: Prepared, objective: Objective) -> None:
    """Refuses a metric to stop or choose by that no epoch will report."""
    known = {"train_loss", "learning_rate"}
    if len(data.splits["validation"]):
        known |= set(objective.metrics(torch.ones(len(objective.names)), "validation"))
    stopping = job.training.early_stopping
    named = [("training.early_stopping.metric", stopping.metric)] if stopping else []
    if job.checkpoint.metric != "validation_loss" or len(data.splits["validation"]):
        named.append(("checkpoint.metric", job.checkpoint.metric))
    for key, metric in named:
        if metric not in known:
            why = "" if len(data.splits["validation"]) else " (there is no validation split)"
            raise ComponentError(
                f"{key}: no epoch reports {metric!r}{why}", hint=f"One of: {', '.join(sorted(known))}."
            )


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


def _test(
    job: TrainJob,
    data: Prepared,
    splits: Mapping[str, Samples],
    model: nn.Module,
    objective: Objective,
    ranks: Ranks,
) -> dict[str, Any]:
    """Measures the best model, and what anybody could predict, on the test split."""
    if not len(splits["test"]):
        return {}
    size, precision = job.training.global_batch_size, autocast_for(job.training.precision, ranks.device)
    metrics = evaluate(model, splits["test"], objective, ranks, "test", size, precision)
    row: dict[str, Any] = {"test_loss": metrics["test_loss"], "metrics": metrics}
    if data.baseline is not None:
        row["baseline"] = evaluate(data.baseline, splits["test"], objective, ranks, "test", size)
    return row


def _keep_model(attempt: Attempt, objects: Objects, model: nn.Module, data: Prepared, ended: Ended) -> str:
    """Puts the weights (safetensors) and all it takes to use them again into the store."""
    from safetensors.torch import save

    prefix = f"models/{attempt.run_id}/f{attempt.fence}/{attempt.trial_id}"
    # A copy of each tensor: safetensors refuses tied weights that share memory.
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    config = {
        "model": attempt.job.model.model_dump(mode="json"),
        "input_shape": data.input_shape,
        "output_shape": data.output_shape,
        "num_classes": data.num_classes,
        "task": data.task,
        "data": attempt.job.data.model_dump(mode="json"),
        "preparation": None
        if data.preparation is None
        else {"kind": data.preparation.kind, **data.preparation.config()},
        "reason": ended.reason,
    }
    objects.put(f"{prefix}/model.safetensors", save(weights))
    objects.put(f"{prefix}/config.json", json.dumps(config, indent=1).encode())
    return f"{objects.uri}/v1/{prefix}"


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


def _place(error: BaseException) -> str:
    """``model.py:12: `` where the user's own code raised, or nothing when it was not there."""
    here = Path(__file__).resolve().parent.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "site-packages" in path.parts or path.is_relative_to(here) or not path.is_file():
            continue
        if "lib" in path.parts and any(part.startswith("python3") for part in path.parts):
            continue
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name
        return f"{shown}:{frame.lineno}: "
    return ""
