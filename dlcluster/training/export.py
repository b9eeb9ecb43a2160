"""After training: the model as a program that runs without its Python code, and a proof that its weights are whole."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOLERANCE = 1e-5
"""A program may differ from its model by this much, relative to the largest output (or to 1 where that is less)."""


@dataclass(frozen=True)
class Exported:
    """A model as a program, or why there is none.

    Attributes:
        program: What `torch.export.load` reads; None when the model could not be exported.
        max_difference: Largest difference between the outputs of model and program; None where nothing was compared.
        reason: Why there is no program, in words; None when there is one.
    """

    program: bytes | None = None
    max_difference: float | None = None
    reason: str | None = None

    @property
    def words(self) -> str:
        """One line for the log."""
        if self.program is None:
            return f"not exported: {self.reason}"
        return f"exported: {len(self.program):,} bytes, outputs differ by at most {self.max_difference:.2g}"


def export_program(model: nn.Module, example: Tensor) -> Exported:
    """Turns a model into a program for batches of any size, and compares the two.

    The program is written, read back, and run on the example and on one sample of it. A model that cannot be
    exported is no failure: the reason is returned.

    Args:
        model: Left as it was; a copy on the CPU in evaluation mode is exported.
        example: A batch of x, ``(batch, *input_shape)``.
    """
    plain = copy.deepcopy(model).cpu().eval()
    # torch takes a batch of one for a constant: the example has at least two.
    batch = example.detach().cpu()
    batch = torch.cat([batch, batch]) if len(batch) == 1 else batch
    try:
        with torch.no_grad(), quiet("torch"):
            expected = _outputs(plain, batch)
            if not all(isinstance(output, Tensor) for output in expected):
                return Exported(reason=f"its forward returns a {type(expected[0]).__name__}, not one tensor")
            sizes = ({0: torch.export.Dim("batch")},)
            made = torch.export.export(plain, (batch,), dynamic_shapes=sizes, strict=False)
            buffer = io.BytesIO()
            torch.export.save(made, buffer)
            program = torch.export.load(io.BytesIO(buffer.getvalue())).module()
            outputs = _outputs(program, batch)
    except Exception as error:
        return Exported(reason=_why_not(error))
    difference = max(map(_difference, outputs, expected))
    # Written so that a difference that is not a number is one, too.
    if not difference <= TOLERANCE * max(1.0, *(output.abs().max().item() for output in expected)):
        return Exported(None, difference, f"the program's outputs differ from the model's by up to {difference:.2g}")
    return Exported(buffer.getvalue(), difference)


def check_weights(model: nn.Module, make: Callable[[], nn.Module], weights: bytes, example: Tensor) -> str | None:
    """Checks that stored weights make a fresh model the same, bit by bit.

    Args:
        model: What was stored; left as it was.
        make: Makes the model anew, as for the same job.
        weights: As safetensors.
        example: A batch of x to compare outputs on, ``(batch, *input_shape)``.

    Returns:
        What is wrong, in words, or None when nothing is.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    fresh = make()
    try:
        fresh.load_state_dict(load(weights))
    except SafetensorError as error:
        return f"the stored weights cannot be read: {error}"
    except RuntimeError as error:
        return f"the stored weights do not fit the model: {' '.join(str(error).split())}"
    kept, again = model.state_dict(), fresh.state_dict()
    changed = [name for name in kept if not same_bits(kept[name].cpu(), again[name].cpu())]
    if changed:
        return f"the stored weights are others than the model's: {', '.join(changed)}"
    batch = example.detach().cpu()
    outputs = [_outputs(copy.deepcopy(each).cpu().eval(), batch) for each in (model, fresh)]
    if not all(map(same_bits, *outputs)):
        return (
            "the stored weights are the model's, but its output with them is another: it keeps numbers that are "
            "neither parameters nor buffers (use register_buffer)"
        )
    return None


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors on the CPU are the same bit by bit; so one that is not a number equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    first, second = (part.detach().contiguous().reshape(-1).view(torch.uint8) for part in (one, other))
    return torch.equal(first, second)


def _outputs(model: nn.Module, batch: Tensor) -> list[Tensor]:
    """What a model makes of a batch and of its first sample; one that draws random numbers draws the same again."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return [model(part) for part in (batch, batch[:1])]


def _difference(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("nan")
    return (one.double() - other.double()).abs().max().item() if one.numel() else 0.0


def _why_not(error: Exception) -> str:
    text = str(error)
    if "data-dependent" in text:
        return (
            "what its forward does depends on the values in a tensor (an if, a loop or a slice by them), "
            "which a program cannot follow; torch.where and torch.cond can"
        )
    if text.startswith("Constraints violated (batch)"):
        return (
            "its forward takes the size of the batch for a fixed number (as len(x) does, where x.shape[0] does not), "
            "and a program is made for batches of any size"
        )
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"


@contextmanager
def quiet(*logs: str) -> Iterator[None]:
    """Keeps out of the log what a library tells its own developers; errors are raised all the same.

    Args:
        logs: Names of its loggers.
    """
    loggers = [logging.getLogger(name) for name in logs]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        # Some of it is printed rather than logged.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
