"""The job file as frozen models: every key, its type, its default and what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field, model_validator

from dlcluster.spec.data import Data, Model
from dlcluster.spec.fields import (
    AutoOrSeconds,
    Duration,
    Filled,
    GpuCount,
    Name,
    Size,
    Variable,
    Version,
)
from dlcluster.spec.predict import Predict
from dlcluster.spec.rules import conflicts
from dlcluster.spec.section import Mode, Section
from dlcluster.spec.training import Export, Training


class Resources(Section):
    """What each worker gets, and how many there are."""

    num_workers: int = Field(default=1, ge=1, description="Training processes.")
    gpus_per_worker: GpuCount = Field(
        default=0.0, ge=0, description="GPUs of each worker; a share such as 0.5, or a whole number."
    )
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPUs of each worker.")
    memory_per_worker: Size | None = Field(
        default=None, description="Memory of each worker, such as 4GiB; not reserved by default."
    )
    accelerator_type: Filled | None = Field(
        default=None, description="Which GPU, by Ray's name for it, such as A100; any by default."
    )


class Checkpoint(Section):
    """When checkpoints are written and which are kept."""

    every_epochs: int = Field(default=1, ge=1, description="Epochs between checkpoints.")
    every_seconds: float | None = Field(
        default=None, gt=0, description="Seconds between checkpoints within an epoch; none by default."
    )
    min_seconds: Annotated[float | Literal["auto"], AutoOrSeconds] = Field(
        default="auto",
        description="Least seconds between checkpoints; auto keeps their cost small.",
        json_schema_extra={"anyOf": [{"const": "auto"}, {"type": "number", "minimum": 0}]},
    )
    num_to_keep: int = Field(
        default=2, ge=1, description="How many are kept; each also holds the weights of the best epoch."
    )
    metric: Filled = Field(default="validation_loss", description="The metric that says which is best.")
    mode: Mode = Field(default="min", description="Whether smaller (min) or larger (max) is better.")


class Retry(Section):
    """What happens after a failure."""

    max_failures: int = Field(default=3, ge=-1, description="Failures made good by a restart; -1: no limit.")
    max_preemptions: int = Field(
        default=-1, ge=-1, description="Machines taken away, made good by a restart; -1: no limit."
    )
    oom: Literal["fail"] = Field(default="fail", description="When memory runs out: fail at once.")
    nan_loss: Literal["stop", "ignore"] = Field(
        default="stop", description="When the loss is no longer a number: stop, or ignore it and go on."
    )


class Limits(Section):
    """Where a run ends even if it is not done."""

    max_duration: Duration | None = Field(default=None, description="Longest time it may run, such as 6h.")
    max_wait: Duration | None = Field(
        default=None, description="Longest time it may wait for its resources, such as 2h."
    )
    gpu_hours: float | None = Field(default=None, gt=0, description="Most GPU hours, over all workers.")


class Storage(Section):
    """Where results go."""

    path: Filled | None = Field(
        default=None, description="A folder or s3://bucket/prefix; default: DLCLUSTER_STORAGE or ./results."
    )
    shared: bool = Field(default=False, description="Whether the folder is the same one on every machine, as on NFS.")


class RuntimeEnv(Section):
    """What the workers' Python finds."""

    working_dir: Filled | None = Field(
        default=None,
        description="The folder that travels with the job, so that its modules are found; none by default.",
    )
    pip: list[Filled] = Field(default=[], description="Packages that are installed for the job.")


class TrainJob(Section):
    """A job that trains one model: the whole job file, checked, with every default filled in."""

    version: Annotated[Literal[1], Version] = Field(description="Version of the job file's format.", examples=[1])
    name: Name = Field(description="Name of the job: small letters, digits and dashes.", examples=["my-first-job"])
    kind: Literal["train"] = Field(default="train", description="What is done.")
    description: str = Field(default="", description="What the job is for, in your words.")
    labels: dict[Filled, str] = Field(default={}, description="Your own words to find the run by.")
    model: Model = Field(description="Which network is trained.", examples=["{name: mlp}"])
    data: Data = Field(description="What is trained on.", examples=["{name: co2}"])
    training: Training = Field(default_factory=Training, description="How the model is trained.")
    export: Export = Field(default_factory=Export, description="What is made of the trained model beside its weights.")
    resources: Resources = Field(
        default_factory=Resources, description="What each worker gets, and how many there are."
    )
    checkpoint: Checkpoint = Field(
        default_factory=Checkpoint, description="When checkpoints are written and which are kept."
    )
    retry: Retry = Field(default_factory=Retry, description="What happens after a failure.")
    limits: Limits = Field(default_factory=Limits, description="Where a run ends even if it is not done.")
    storage: Storage = Field(default_factory=Storage, description="Where results go.")
    env: dict[Variable, str] = Field(default={}, description="Environment variables of the workers.")
    secrets: list[Variable] = Field(
        default=[], description="Names of environment variables that are passed on and never shown."
    )
    runtime_env: RuntimeEnv = Field(default_factory=RuntimeEnv, description="What the workers' Python finds.")

    @model_validator(mode="after")
    def _rules(self) -> TrainJob:
        found = [f"{'.'.join(map(str, path))}: {message}" for path, message in conflicts(_getter(self))]
        if found:
            raise ValueError("\n".join(found))
        return self


class PredictJob(Section):
    """A job that predicts with a stored model: the whole job file, checked, with every default filled in."""

    version: Annotated[Literal[1], Version] = Field(description="Version of the job file's format.", examples=[1])
    name: Name = Field(description="Name of the job: small letters, digits and dashes.", examples=["my-predictions"])
    kind: Literal["predict"] = Field(description="What is done.", examples=["predict"])
    description: str = Field(default="", description="What the job is for, in your words.")
    labels: dict[Filled, str] = Field(default={}, description="Your own words to find the run by.")
    predict: Predict = Field(
        description="Which model predicts, over which data, and where its predictions go.",
        examples=["{run: latest, data: new.csv, out: predictions}"],
    )
    resources: Resources = Field(
        default_factory=Resources, description="What each worker gets, and how many there are."
    )
    retry: Retry = Field(default_factory=Retry, description="What happens after a failure.")
    limits: Limits = Field(default_factory=Limits, description="Where a run ends even if it is not done.")
    storage: Storage = Field(
        default_factory=Storage, description="The store: where the model is, and where the run is kept."
    )
    env: dict[Variable, str] = Field(default={}, description="Environment variables of the workers.")
    secrets: list[Variable] = Field(
        default=[], description="Names of environment variables that are passed on and never shown."
    )
    runtime_env: RuntimeEnv = Field(default_factory=RuntimeEnv, description="What the workers' Python finds.")

    @model_validator(mode="after")
    def _rules(self) -> PredictJob:
        found = [f"{'.'.join(map(str, path))}: {message}" for path, message in conflicts(_getter(self), self.kind)]
        if found:
            raise ValueError("\n".join(found))
        return self


Job: TypeAlias = TrainJob | PredictJob
KINDS: Mapping[str, type[TrainJob] | type[PredictJob]] = {"train": TrainJob, "predict": PredictJob}


def kind_of(values: Any) -> type[TrainJob] | type[PredictJob]:
    """The model for a job file's values, whatever they hold: what is no known kind is read as one to train."""
    kind = values.get("kind") if isinstance(values, Mapping) else None
    return KINDS.get(kind, TrainJob) if isinstance(kind, str) else TrainJob


def job_from_kept(values: Mapping[str, Any]) -> Job:
    """Makes a job again from what was kept of it with its run."""
    return kind_of(values).model_validate(values)


def _getter(job: BaseModel) -> Any:
    def get(*path: str) -> Any:
        value: Any = job
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else getattr(value, part)
            if value is None:
                return None
        return value

    return get
