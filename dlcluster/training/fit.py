"""Whether model, loss and metrics fit the data: one sample through all of them, before training."""

from __future__ import annotations

import bdb
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dlcluster.errors import ComponentError
from dlcluster.training.objective import Objective
from dlcluster.training.steps import has_own_step

if TYPE_CHECKING:
    from dlcluster.data.prepared import Prepared
    from dlcluster.spec import TrainJob


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
            if data.task == "generation":
                _check_samples(model, data, name)
                return
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
            f"model {name} does not work on this data: {place(error)}{type(error).__name__}: {error}",
            hint=f"x is {tuple(x.shape)}, y is {tuple(y.shape)}, predictions must be {(len(x), *data.output_shape)}.",
        ) from error
    finally:
        model.train(was_training)
        torch.set_rng_state(state)


def _check_samples(model: Any, data: Prepared, name: str) -> None:
    if not has_own_step(model) or not callable(getattr(model, "samples", None)):
        raise ComponentError(
            f"model {name} generates nothing",
            hint="For task generation take gan, or a model of yours with training_step and samples(count, generator).",
        )
    made = model.samples(2)
    if tuple(made.shape) != (2, *data.input_shape):
        raise ComponentError(f"model {name} makes samples {tuple(made.shape)}, the data has {(2, *data.input_shape)}")


def check_metrics(job: TrainJob, data: Prepared, objective: Objective) -> None:
    """Refuses a metric to stop or choose by that no epoch will report."""
    known = {"train_loss", "learning_rate"}
    if len(data.splits["validation"]) and data.task != "generation":
        known |= set(objective.metrics(torch.ones(len(objective.names)), "validation"))
        known |= {f"validation_{name}" for name in objective.further}
    stopping = job.training.early_stopping
    named = [("training.early_stopping.metric", stopping.metric)] if stopping else []
    if job.checkpoint.metric != "validation_loss" or (len(data.splits["validation"]) and data.task != "generation"):
        named.append(("checkpoint.metric", job.checkpoint.metric))
    for key, metric in named:
        if metric not in known:
            why = "" if len(data.splits["validation"]) else " (there is no validation split)"
            raise ComponentError(
                f"{key}: no epoch reports {metric!r}{why}", hint=f"One of: {', '.join(sorted(known))}."
            )


def place(error: BaseException) -> str:
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
