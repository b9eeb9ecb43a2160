"""After training: a smaller model - weights near zero cut off, or kept in 8 bits - and what that costs."""

from __future__ import annotations

import copy
import importlib
import io
import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dlcluster.errors import ComponentError
from dlcluster.training.export import quiet

WARM_UP, REPEATS = 3, 30
"""Forward passes before the clock runs, and those whose median is a latency."""
_TALKATIVE = ("torchao", "torch.utils._pytree")


@dataclass(frozen=True)
class Measured:
    """What a model is worth and what it costs.

    Attributes:
        metrics: From the evaluation, such as ``test_accuracy``.
        zeros: Share of the weights that are zero, biases and the like not counted.
        stored_bytes: Size of the file with its weights.
        zipped_bytes: Size of that file packed by zlib.
        one_milliseconds: Median time of a forward pass of one sample.
        batch_milliseconds: Median time of a forward pass of ``batch_size`` samples.
        batch_size: Samples in the larger batch.
    """

    metrics: Mapping[str, float]
    zeros: float
    stored_bytes: int
    zipped_bytes: int
    one_milliseconds: float
    batch_milliseconds: float
    batch_size: int


@dataclass(frozen=True)
class Comparison:
    """A model before and after it was made smaller, measured alike on the same machine.

    Attributes:
        before: The model as it was trained.
        after: What was made of it.
    """

    before: Measured
    after: Measured

    @property
    def words(self) -> list[str]:
        """Lines for the log."""
        before, after = self.before, self.after
        lines = [f"{name} {value:.6g} -> {after.metrics[name]:.6g}" for name, value in before.metrics.items()]
        return [
            *lines,
            f"zero weights {before.zeros:.1%} -> {after.zeros:.1%}",
            f"stored weights {before.stored_bytes:,} -> {after.stored_bytes:,} bytes, "
            f"zipped {before.zipped_bytes:,} -> {after.zipped_bytes:,}",
            f"one sample {before.one_milliseconds:.3g} -> {after.one_milliseconds:.3g} ms, "
            f"{before.batch_size} samples {before.batch_milliseconds:.3g} -> {after.batch_milliseconds:.3g} ms",
        ]


def prune_magnitude(model: nn.Module, share: float) -> nn.Module:
    """Sets the weights nearest to zero to zero, the smallest of all layers together.

    Weights of dense, convolutional and recurrent layers are pruned; biases, normalisation and embeddings are not.
    They keep their places, so neither time nor memory is saved by itself: a file with zeros packs better.

    Source: Han, Pool, Tran & Dally 2015, Learning both Weights and Connections for Efficient Neural Networks.

    Args:
        model: Left as it was.
        share: Part of the weights that become zero, from 0 to below 1.

    Returns:
        A copy.

    Raises:
        ComponentError: When there is no such share, or the model has no such weights.
    """
    from torch.nn.utils import prune

    if not 0 <= share < 1:
        raise ComponentError(f"export.prune: must be a share from 0 to below 1 (got {share:g})")
    smaller = copy.deepcopy(model)
    places = weight_places(smaller)
    if not places:
        raise ComponentError("export.prune: the model has no dense, convolutional or recurrent layers to prune")
    if share:
        prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=share)
        for module, name in places:
            prune.remove(module, name)  # type: ignore[no-untyped-call]
    return smaller


def weight_places(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Lists the weights of dense, convolutional and recurrent layers, as ``(module, parameter's name)``.

    Weights that two layers share are listed once.
    """
    places: list[tuple[nn.Module, str]] = []
    seen: set[Tensor] = set()
    for module in model.modules():
        for name in _weight_names(module):
            # Where a weight is worked out from another (as by spectral norm), that one is the parameter.
            holder, own = module, name
            if nn.utils.parametrize.is_parametrized(module, name):
                holder, own = module.parametrizations[name], "original"  # type: ignore[index, assignment]
            weight = getattr(holder, own)
            if isinstance(weight, nn.Parameter) and weight not in seen:
                seen.add(weight)
                places.append((holder, own))
    return places


def _weight_names(module: nn.Module) -> list[str]:
    if isinstance(module, nn.RNNBase):
        return [name for name, _ in module.named_parameters(recurse=False) if name.startswith("weight_")]
    if isinstance(module, nn.MultiheadAttention):
        return [name for name, _ in module.named_parameters(recurse=False) if name.endswith("proj_weight")]
    return ["weight"] if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) else []


def quantize_int8(model: nn.Module, *, activations: bool = False) -> nn.Module:
    """Keeps the weights of dense layers in 8 bits, one scale for each output (torchao).

    All else stays as it was, see `left_as_they_were`. Those weights take a quarter of the space. On a CPU it is no
    quicker: they are widened for each pass. ``activations`` multiplies in 8 bits, which rounds more and is quicker for
    large layers and batches only.

    Source: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference.

    Args:
        model: Left as it was.
        activations: Also round what each dense layer reads, by its own range for each sample.

    Returns:
        A copy in evaluation mode; it cannot be trained.

    Raises:
        ComponentError: When torchao is not installed, or the model has no dense layers.
    """
    quantization = _torchao()
    smaller = copy.deepcopy(model).eval()
    config = (
        quantization.Int8DynamicActivationInt8WeightConfig() if activations else quantization.Int8WeightOnlyConfig()
    )
    with quiet(*_TALKATIVE):
        quantization.quantize_(smaller, config)
    if not any(_is_int8(weight) for weight in smaller.parameters()):
        raise ComponentError(
            "export.quantize: the model has no dense layers (nn.Linear), which alone are quantised",
            hint="Remove export.quantize.",
        )
    return smaller


def left_as_they_were(model: nn.Module) -> list[str]:
    """Names the layers whose weights `quantize_int8` left as they were, such as ``lstm (LSTM)``.

    Args:
        model: A quantised one.
    """
    return [
        f"{name} ({type(module).__name__})" if name else type(module).__name__
        for name, module in model.named_modules()
        if any(weight.dim() > 1 and not _is_int8(weight) for weight in module.parameters(recurse=False))
    ]


def stored_weights(model: nn.Module) -> bytes:
    """Writes a model's weights: as safetensors, or as `torch.save` does where some are in 8 bits."""
    from safetensors.torch import save

    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    if not any(map(_is_int8, state.values())):
        # A copy of each tensor: safetensors refuses tied weights that share memory.
        return save({name: value.clone().contiguous() for name, value in state.items()})
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load_quantized(model: nn.Module, weights: bytes) -> nn.Module:
    """Puts weights in 8 bits into a freshly made model; nothing but tensors is read.

    Args:
        model: As for the same job, not quantised; changed in place.
        weights: From `stored_weights` of a quantised model.

    Returns:
        The model, in evaluation mode.

    Raises:
        ComponentError: When torchao is not installed, or these are no such weights.
    """
    _torchao()  # registers its tensors as safe to load
    try:
        with quiet(*_TALKATIVE):
            state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
            # Assigned rather than copied: a copy would widen them to the model's own 32 bits.
            model.load_state_dict(state, assign=True)
    except Exception as error:
        line = " ".join(str(error).split())
        raise ComponentError(f"the quantised weights cannot be loaded: {type(error).__name__}: {line:.200}") from error
    return model.eval()


@torch.no_grad()
def compare(
    model: nn.Module,
    changed: nn.Module,
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    example: Tensor,
) -> Comparison:
    """Measures a model and what was made of it.

    Args:
        model: As it was trained.
        changed: From `prune_magnitude` or `quantize_int8`.
        evaluate: From a model to its metrics.
        example: A batch of x to time forward passes with, ``(batch, *input_shape)``, where the models are.
    """
    models = (model, changed)
    modes = [each.training for each in models]
    metrics = [dict(evaluate(each.eval())) for each in models]
    one, batch = (milliseconds([each.eval() for each in models], part) for part in (example[:1], example))
    files = [stored_weights(each) for each in models]
    before, after = (
        Measured(
            metrics[i], _zeros(models[i]), len(files[i]), len(zlib.compress(files[i])), one[i], batch[i], len(example)
        )
        for i in range(2)
    )
    for each, mode in zip(models, modes, strict=True):
        each.train(mode)
    return Comparison(before, after)


@torch.no_grad()
def milliseconds(models: Sequence[nn.Module], batch: Tensor) -> list[float]:
    """Median time of a forward pass of each model, after some to warm up.

    They take turns, so that what else the machine does meets all of them.

    Args:
        models: In the mode they are to be timed in.
        batch: What they read.
    """
    seconds: list[list[float]] = [[] for _ in models]
    for turn in range(WARM_UP + REPEATS):
        for model, own in zip(models, seconds, strict=True):
            _wait(batch)
            began = time.perf_counter()
            model(batch)
            _wait(batch)
            if turn >= WARM_UP:
                own.append(time.perf_counter() - began)
    return [1000 * statistics.median(own) for own in seconds]


def _zeros(model: nn.Module) -> float:
    weights: list[Any] = [getattr(module, name).detach() for module, name in weight_places(model)]
    zeros = [(weight.dequantize() if _is_int8(weight) else weight) == 0 for weight in weights]
    return torch.cat([each.flatten() for each in zeros]).double().mean().item() if zeros else 0.0


def _wait(batch: Tensor) -> None:
    if batch.is_cuda:  # a GPU is still at it when a call returns
        torch.cuda.synchronize(batch.device)


def _is_int8(weight: Tensor) -> bool:
    return type(weight).__module__.startswith("torchao.")


def _torchao() -> Any:
    """Imports torchao's quantization, which is slow, talkative and wanted by few."""
    try:
        with quiet(*_TALKATIVE):
            return importlib.import_module("torchao.quantization")
    except ImportError as error:
        raise ComponentError(
            f"export.quantize: torchao cannot be imported: {error}",
            hint="Install it where the job runs (pip install torchao), or remove export.quantize.",
        ) from error
