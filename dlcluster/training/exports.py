"""What is made of a trained model beside its weights: checked, measured and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dlcluster.data.batches import Samples
from dlcluster.errors import ComponentError
from dlcluster.models.catalog import make_model
from dlcluster.models.named import is_own
from dlcluster.training.evaluate import evaluate
from dlcluster.training.objective import Objective
from dlcluster.training.ranks import Ranks

if TYPE_CHECKING:
    from dlcluster.data.prepared import Prepared
    from dlcluster.spec import TrainJob
    from dlcluster.store.objects import Objects

EXAMPLES = 64
"""Samples that a program and a smaller model are tried on."""


def keep_exports(
    job: TrainJob,
    objects: Objects,
    prefix: str,
    model: nn.Module,
    weights: bytes,
    data: Prepared,
    objective: Objective,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Checks the stored weights, and makes, measures and stores what the job's ``export`` asks for.

    What cannot be made is said, and fails nothing: the trained model is kept by then.

    Args:
        job: The job.
        objects: The store.
        prefix: Where the model's files lie in it.
        model: The trained model.
        weights: As they are stored, in safetensors.
        data: What it was trained on.
        objective: What a smaller copy is measured by.
        say: Takes a line for the log.

    Returns:
        What was found, as JSON can hold it: ``weights``, ``torch_export``, ``prune`` and ``quantize``.
    """
    from safetensors.torch import load

    from dlcluster.training.export import check_weights, export_program, same_bits

    spec, device = job.export, next((each.device for each in model.parameters()), torch.device("cpu"))
    model.eval()
    example = _example(model, data).to(device)
    if is_own(job.model.name) and not (spec.torch_export or spec.prune or spec.quantize):
        # Unasked, a user's own code is neither made again nor run again: it may print, download or break to a debugger.
        read, own = load(weights), model.state_dict()
        wrong = None if all(same_bits(own[name].cpu(), read[name]) for name in own) else "they are others"
    else:
        wrong = check_weights(
            model, lambda: make_model(job.model.name, job.model.params, data.shapes), weights, example
        )
    if wrong is not None:
        say(f"the stored weights do not make this model again: {wrong}")
    report: dict[str, Any] = {"weights": wrong or "the same, bit by bit"}
    if spec.torch_export:
        exported = export_program(model, example)
        say(exported.words)
        if exported.program is not None:
            objects.put(f"{prefix}/model.pt2", exported.program)
        report["torch_export"] = {"max_difference": exported.max_difference, "reason": exported.reason}
    if spec.prune is not None or spec.quantize is not None:
        split = next((each for each in ("test", "validation", "train") if len(data.splits[each])), "train")
        measure = _measure(job, objective, data.splits[split], split, device)
        for name, change in _changes(job):
            report[name] = _smaller(name, change, model, measure, example, objects, prefix, say)
    return report


def _example(model: nn.Module, data: Prepared) -> Tensor:
    if data.task == "generation":  # it reads noise
        return torch.randn(EXAMPLES, int(getattr(model, "latent_size", 1)))
    train = data.splits["train"]
    return train.gather(torch.arange(min(EXAMPLES, len(train))))[0]


def _measure(
    job: TrainJob, objective: Objective, samples: Samples, split: str, device: torch.device
) -> Callable[[nn.Module], Mapping[str, float]]:
    size = job.training.global_batch_size
    return lambda model: evaluate(model, samples, objective, Ranks(device=device), split, size)


def _changes(job: TrainJob) -> list[tuple[str, Callable[[nn.Module], nn.Module]]]:
    from dlcluster.training.compress import prune_magnitude, quantize_int8

    share, quantize = job.export.prune, job.export.quantize
    changes: list[tuple[str, Callable[[nn.Module], nn.Module]]] = []
    if share is not None:
        changes.append(("prune", lambda model: prune_magnitude(model, share)))
    if quantize is not None:
        changes.append(("quantize", lambda model: quantize_int8(model, activations=quantize == "int8_activations")))
    return changes


def _smaller(
    name: str,
    change: Callable[[nn.Module], nn.Module],
    model: nn.Module,
    measure: Callable[[nn.Module], Mapping[str, float]],
    example: Tensor,
    objects: Objects,
    prefix: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Makes one smaller copy, measures it beside the model, and stores its weights."""
    from dlcluster.training.compress import compare, left_as_they_were, stored_weights

    try:
        changed = change(model)
        comparison = compare(model, changed, measure, example)
    except (ComponentError, RuntimeError, NotImplementedError, TypeError) as error:
        say(f"export.{name}: cannot be done with this model: {str(error).splitlines()[0]}")
        return {"reason": str(error)}
    ending = "pruned.safetensors" if name == "prune" else "quantized.pt"
    objects.put(f"{prefix}/{ending}", stored_weights(changed))
    kept = left_as_they_were(changed) if name == "quantize" else []
    for line in [*comparison.words, *([f"left as they were: {', '.join(kept)}"] if kept else [])]:
        say(f"{name}: {line}")
    return {**json.loads(json.dumps(asdict(comparison))), "file": ending, "left_as_they_were": kept}
