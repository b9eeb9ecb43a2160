"""What a training is at one moment: captured as a copy, saved by a thread, restored exactly."""

from __future__ import annotations

import io
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dlcluster.training.optim import Schedule

STATE_FILE = "state.pt"
SAVING_SHARE = 0.02
"""Saving may cost this share of training time when ``min_seconds`` is ``auto``."""


@dataclass
class Progress:
    """Where a training stands; plain numbers, so that a checkpoint can hold it.

    Attributes:
        epoch: Epoch under way, from 1.
        step_in_epoch: Steps of it that are done.
        step: Steps done in all epochs.
        loss_sums: Each loss times samples, added up over this epoch's steps on this rank.
        samples: Samples behind ``loss_sums``.
        epoch_seconds: Training seconds spent in this epoch so far.
        best_epoch: Epoch with the best metric so far; 0 before there is one.
        best_value: Its value.
        epochs_without_gain: Epochs since, for early stopping.
        stopped_early: Training is over before its last epoch.
        history: All rows reported so far.
    """

    epoch: int = 1
    step_in_epoch: int = 0
    step: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    epoch_seconds: float = 0.0
    best_epoch: int = 0
    best_value: float = float("nan")
    epochs_without_gain: int = 0
    stopped_early: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Training:
    """Everything that moves while a model is trained.

    Attributes:
        model: The bare model, neither compiled nor wrapped.
        optimizers: Its optimizers by name; one, unless the model brings a training of its own.
        schedules: The learning rate of each of them.
        scaler: Gradient scaler of fp16; passes gradients through otherwise.
        progress: Where it stands.
        best_model: Copy of the weights of the best epoch, when that is not the last one.
    """

    model: nn.Module
    optimizers: dict[str, torch.optim.Optimizer]
    schedules: dict[str, Schedule]
    scaler: torch.amp.GradScaler
    progress: Progress = field(default_factory=Progress)
    best_model: dict[str, Tensor] | None = None


def copied(value: Any) -> Any:
    """Copies nested containers with their tensors, which end up on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value


def random_state() -> dict[str, Any]:
    """Takes the state of all random generators of this process, as tensors and plain values."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, list(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts back what `random_state` took."""
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def capture(training: Training, random_states: list[Any], loss_sums: list[Any]) -> dict[str, Any]:
    """Copies a training as it is now.

    Args:
        training: What to copy.
        random_states: One `random_state` for each rank.
        loss_sums: ``(loss_sums, samples)`` of each rank.

    Returns:
        Tensors and plain values only, so that ``torch.load(weights_only=True)`` reads it back.
    """
    progress = dict(vars(training.progress))
    progress["history"] = json.dumps(progress["history"])
    # Right after its best epoch a model is its own best copy; torch.save writes shared tensors once.
    is_best = training.progress.step_in_epoch == 0 and training.progress.best_epoch == training.progress.epoch - 1
    best = training.best_model
    return {
        "model": best if is_best and best is not None else copied(training.model.state_dict()),
        "optimizers": {name: copied(each.state_dict()) for name, each in training.optimizers.items()},
        "schedules": {name: copied(each.state_dict()) for name, each in training.schedules.items()},
        "scaler": copied(training.scaler.state_dict()),
        "progress": progress,
        "best_model": best,
        "random": random_states,
        "loss_sums": [list(pair) for pair in loss_sums],
    }


def serialized(state: dict[str, Any]) -> bytes:
    """Writes what `capture` returned."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def restore(training: Training, data: bytes, *, rank: int) -> None:
    """Makes a training what it was when `capture` was called.

    With another number of ranks than at that time, weights and progress are the same and random draws are not.

    Args:
        training: Freshly made for the same job.
        data: From `serialized`.
        rank: Whose random state to take.

    Raises:
        RuntimeError: When the checkpoint is of another model.
    """
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    training.model.load_state_dict(state["model"])
    for name, optimizer in training.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    for name, schedule in training.schedules.items():
        schedule.load_state_dict(state["schedules"][name])
    training.scaler.load_state_dict(state["scaler"])
    training.best_model = state["best_model"]
    progress = state["progress"]
    training.progress = Progress(**{**progress, "history": json.loads(progress["history"])})
    sums = state["loss_sums"]
    if rank < len(sums) and len(sums) == len(state["random"]):
        training.progress.loss_sums, training.progress.samples = dict(sums[rank][0]), int(sums[rank][1])
        set_random_state(state["random"][rank])


class Saver:
    """Saves copies of a training in a thread of its own; the latest wins.

    Args:
        put: ``put(epoch, step, data)`` writes one checkpoint; it may take its time and may raise.
        min_seconds: Least time between two saves, or ``auto`` to keep their cost under 2 % of training.
        say: Told when saving fails.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        put: Callable[[int, int, bytes], None],
        *,
        min_seconds: float | Literal["auto"] = "auto",
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._put, self._min_seconds, self._say, self._clock = put, min_seconds, say, clock
        self._condition = threading.Condition()
        self._waiting: tuple[int, int, dict[str, Any]] | None = None
        self._busy = self._closed = False
        self._last = float("-inf")
        self._cost = 0.0
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Whether enough time has passed since the last save, and that one is written."""
        gap = self._cost / SAVING_SHARE if self._min_seconds == "auto" else self._min_seconds
        return not self._busy and self._clock() - self._last >= gap

    def seconds_since_last(self) -> float:
        """Seconds since the last save began; infinite before the first."""
        return self._clock() - self._last

    def save(self, take: Callable[[], dict[str, Any]], *, epoch: int, step: int) -> None:
        """Takes a copy now and hands it to the thread.

        Args:
            take: Makes the copy; its time counts as time lost to saving.
            epoch: Epoch under way.
            step: Steps done in all.
        """
        began = time.perf_counter()
        state = take()
        with self._condition:
            self._last = self._clock()
            self._cost = time.perf_counter() - began
            self._waiting = (epoch, step, state)
            self._condition.notify_all()

    def flush(self) -> None:
        """Waits until everything handed over is written, or has failed."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting is None and not self._busy)

    def close(self) -> None:
        """Writes what is waiting and ends the thread."""
        self.flush()
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting is not None or self._closed)
                if self._waiting is None:
                    return
                epoch, step, state = self._waiting
                self._waiting, self._busy = None, True
            began = time.thread_time()
            try:
                self._put(epoch, step, serialized(state))
            except Exception as error:
                self._say(f"checkpoint of epoch {epoch}, step {step} could not be saved: {error}")
            with self._condition:
                # This thread's processor time is taken from training, too (the GIL, and fewer cores).
                self._cost += time.thread_time() - began
                self._busy = False
                self._condition.notify_all()
