"""What a job file says of how its model is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dlcluster.spec.fields import Component, Filled
from dlcluster.spec.section import Mode, Section
from dlcluster.spec.units import WrongValueError, is_number


def _class_weights(value: Any) -> Any:
    numbers = isinstance(value, list) and all(is_number(each) and 0 < each < float("inf") for each in value)
    if value in (None, "balanced") or (numbers and value):
        return value
    raise WrongValueError("must be balanced, or a list of numbers above 0, one for each class")


class Optimizer(Section):
    """The optimizer and its settings."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad"] = Field(default="adam", description="Which optimizer.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Step size, before any schedule.")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty, decoupled for adamw; 0 is none.")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="Momentum, for sgd and rmsprop.")
    nesterov: bool = Field(default=False, description="Whether sgd's momentum is Nesterov's.")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Decay of the gradient's mean, for adam and adamw.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Decay of the square's mean, for adam and adamw.")


class LrScheduler(Section):
    """How the learning rate changes; smoothly over steps, or by epochs."""

    name: Literal["constant", "step", "cosine", "one_cycle", "reduce_on_plateau"] = Field(
        default="constant",
        description="constant; step: times factor every so many epochs; cosine: down to zero at the last step; "
        "one_cycle: up and down again; reduce_on_plateau: times factor when validation stands still.",
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up from zero.")
    factor: float = Field(default=0.1, gt=0, lt=1, description="What step and reduce_on_plateau multiply with.")
    every_epochs: int = Field(default=10, ge=1, description="Epochs between two steps of step.")
    patience: int = Field(default=3, ge=1, description="Epochs without a gain before reduce_on_plateau acts.")


class EarlyStopping(Section):
    """When training ends before its last epoch."""

    metric: Filled = Field(default="validation_loss", description="The metric watched.")
    mode: Mode = Field(default="min", description="Whether smaller (min) or larger (max) is better.")
    patience: int = Field(default=3, ge=1, description="Epochs without a better value before it ends.")
    min_delta: float = Field(default=0.0, ge=0, description="How much better counts as better.")


class Export(Section):
    """What is made of the trained model beside its weights; each is held against the model as it was trained."""

    torch_export: bool = Field(
        default=False, description="Whether it is also kept as a program (torch.export) that runs without its code."
    )
    prune: float | None = Field(
        default=None, gt=0, lt=1, description="Share of the weights set to zero, the smallest first, in a copy."
    )
    quantize: Literal["int8", "int8_activations"] | None = Field(
        default=None,
        description="Keep a copy with its dense layers in 8 bits; int8_activations computes in them, too.",
    )


class Training(Section):
    """How the model is trained."""

    epochs: int = Field(default=10, ge=1, description="Passes over the training data.")
    steps_per_epoch: int | None = Field(
        default=None, ge=1, description="Steps after which an epoch ends; default: all of the training data."
    )
    global_batch_size: int = Field(
        default=32, ge=1, description="Samples per step over all workers together; each takes its slice."
    )
    gradient_accumulation: int = Field(
        default=1, ge=1, description="Parts a step's batch is computed in, to save memory; the result is the same."
    )
    loss: Component | None = Field(
        default=None, description="A loss by name, or package.module:function; default: by the task."
    )
    class_weights: Annotated[Literal["balanced"] | list[float] | None, BeforeValidator(_class_weights)] = Field(
        default=None,
        description="Weight of each class in the loss, in the order of the classes; balanced: the rarer, the more.",
        json_schema_extra={
            "anyOf": [
                {"const": "balanced"},
                {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 1},
                {"type": "null"},
            ]
        },
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the target spread over all classes, for cross_entropy."
    )
    metrics: list[Component] = Field(
        default=[], description="Further metrics after each epoch, by name or of your own as package.module:function."
    )
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The optimizer and its settings.")
    lr_scheduler: LrScheduler = Field(
        default_factory=LrScheduler, description="How the learning rate changes over the steps."
    )
    l1: float = Field(default=0.0, ge=0, description="L1 penalty on the weights; 0 is none.")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="Number format of the forward and backward pass."
    )
    compile: bool = Field(default=False, description="Whether torch.compile is used.")
    gradient_clip: float | None = Field(
        default=None, gt=0, description="Largest norm of the gradient; none by default."
    )
    gradient_clip_value: float | None = Field(
        default=None, gt=0, description="Largest absolute value in the gradient; none by default."
    )
    early_stopping: EarlyStopping | None = Field(default=None, description="Ends training early; never by default.")
    sample_every_epochs: int = Field(
        default=5, ge=1, description="For generation: epochs between pictures of what the model makes."
    )
    seed: int = Field(default=0, ge=0, description="Seed of weights, shuffling and dropout.")
    deterministic: bool = Field(
        default=False, description="Whether only algorithms are used that repeat bit by bit; slower."
    )
