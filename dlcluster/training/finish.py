"""After training: the test, and the model kept with all it takes to use it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from dlcluster.data.batches import Samples
from dlcluster.training.ended import Attempt
from dlcluster.training.evaluate import evaluate
from dlcluster.training.exports import keep_exports
from dlcluster.training.loop import Ended
from dlcluster.training.objective import Objective
from dlcluster.training.ranks import Ranks
from dlcluster.training.steps import autocast_for

if TYPE_CHECKING:
    from dlcluster.data.prepared import Prepared
    from dlcluster.spec import TrainJob
    from dlcluster.store.objects import Objects


def measure(
    job: TrainJob,
    data: Prepared,
    splits: Mapping[str, Samples],
    model: nn.Module,
    objective: Objective,
    ranks: Ranks,
) -> tuple[dict[str, Any], list[list[int]] | None]:
    """Measures the best model, and what anybody could predict, on the test split.

    Returns:
        What goes into the trial's row, and the confusion matrix where there are classes.
    """
    if not len(splits["test"]) or data.task == "generation":
        return {}, None
    size, precision = job.training.global_batch_size, autocast_for(job.training.precision, ranks.device)
    further = objective.further_for(len(splits["test"]), ranks.device, final=True)
    metrics = evaluate(model, splits["test"], objective, ranks, "test", size, precision, further)
    row: dict[str, Any] = {"test_loss": metrics["test_loss"], "metrics": metrics}
    if data.baseline is not None:
        row["baseline_name"] = data.baseline_name
        theirs = objective.further_for(len(splits["test"]), ranks.device, final=True)
        row["baseline"] = evaluate(data.baseline, splits["test"], objective, ranks, "test", size, further=theirs)
    return row, None if further is None else further.confusion


def keep_model(
    attempt: Attempt,
    objects: Objects,
    model: nn.Module,
    data: Prepared,
    ended: Ended,
    confusion: list[list[int]] | None,
    objective: Objective,
    say: Callable[[str], None],
) -> str:
    """Puts the weights (safetensors) and all it takes to use them again into the store, and what is made of them."""
    from safetensors.torch import save

    prefix = f"models/{attempt.run_id}/f{attempt.fence}/{attempt.trial_id}"
    # A copy of each tensor: safetensors refuses tied weights that share memory.
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    config = {
        "model": attempt.job.model.model_dump(mode="json"),
        "input_shape": data.input_shape,
        "output_shape": data.output_shape,
        "num_classes": data.num_classes,
        "num_tokens": data.num_tokens,
        "class_names": data.class_names,
        "test_confusion": confusion,
        "task": data.task,
        "data": attempt.job.data.model_dump(mode="json"),
        "preparation": None
        if data.preparation is None
        else {"kind": data.preparation.kind, **data.preparation.config()},
        "reason": ended.reason,
    }
    stored = save(weights)
    objects.put(f"{prefix}/model.safetensors", stored)
    objects.put(f"{prefix}/config.json", json.dumps(config, indent=1).encode())
    report = keep_exports(attempt.job, objects, prefix, model, stored, data, objective, say)
    objects.put(f"{prefix}/export.json", json.dumps(report, indent=1).encode())
    return f"{objects.uri}/v1/{prefix}"
