"""What belongs at each place of a job file, and the right key for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dlcluster.spec.job import KINDS, TrainJob
from dlcluster.spec.rules import Path
from dlcluster.spec.units import duration_seconds, size_bytes

_LONGEST_KEY = 64

_ALIASES = {
    "training.epochs": "epoch n_epochs num_epochs max_epochs nb_epochs num_train_epochs",
    "training.global_batch_size": "batch_size batchsize batch bs train_batch_size",
    "training.loss": "criterion loss_fn loss_function objective",
    "training.metrics": "extra_metrics",
    "training.optimizer": "optim optimiser",
    "training.optimizer.learning_rate": "lr base_lr eta step_size init_lr",
    "training.optimizer.weight_decay": "wd l2 decay",
    "training.lr_scheduler": "scheduler lr_schedule learning_rate_scheduler schedule",
    "training.lr_scheduler.warmup_steps": "warmup num_warmup_steps",
    "training.lr_scheduler.factor": "gamma",
    "training.lr_scheduler.every_epochs": "step_size_epochs",
    "training.gradient_accumulation": "accumulate_grad_batches gradient_accumulation_steps accumulation_steps",
    "training.gradient_clip_value": "clip_value clip_grad_value",
    "training.steps_per_epoch": "max_steps num_steps",
    "training.class_weights": "class_weight",
    "model.init_from": "pretrained from_pretrained load_from",
    "model.init": "initializer weight_init",
    "model.freeze": "frozen freeze_layers",
    "data.split.folds": "num_folds n_splits k_folds cross_validation",
    "data.split.stratify": "stratified",
    "data.format": "file_format filetype",
    "training.precision": "amp dtype mixed_precision fp16 bf16",
    "training.compile": "torch_compile",
    "training.gradient_clip": "grad_clip clip_grad_norm gradient_clip_val max_grad_norm clip",
    "training.early_stopping": "early_stop earlystopping",
    "training.seed": "random_seed random_state",
    "training.deterministic": "reproducible",
    "resources.num_workers": "workers n_workers nodes num_nodes world_size nproc_per_node slots",
    "resources.gpus_per_worker": "gpus num_gpus n_gpus gpu ngpus gpu_count num_gpus_per_worker use_gpu",
    "resources.cpus_per_worker": "cpus num_cpus n_cpus cpu cpus_per_task num_cpus_per_worker",
    "resources.memory_per_worker": "memory mem ram",
    "resources.accelerator_type": "accelerator accelerators gpu_type",
    "checkpoint": "checkpoints checkpointing",
    "checkpoint.every_epochs": "checkpoint_frequency save_every checkpoint_every save_freq",
    "checkpoint.num_to_keep": "keep save_total_limit keep_last save_top_k",
    "retry.max_failures": "max_restarts retries max_retries num_retries",
    "retry.nan_loss": "on_nan",
    "limits.max_duration": "timeout time_limit max_time walltime time_budget_s",
    "limits.max_wait": "max_pending queue_timeout",
    "storage.path": "storage_path output output_dir results_dir log_dir save_dir results",
    "env": "environment envs env_vars environment_variables",
    "secrets": "secret",
    "runtime_env.working_dir": "workdir work_dir",
    "runtime_env.pip": "pip_packages requirements dependencies packages",
    "data": "dataset datasets",
    "data.split": "splits train_test_split",
    "data.path": "data_path data_dir dataset_path",
    "model": "network net architecture",
    "model.params": "hyperparameters hparams model_params kwargs args arguments",
    "labels": "tags",
    "name": "job_name experiment_name run_name title",
    "version": "schema_version api_version",
}
_RIGHT = {alias: right for right, aliases in _ALIASES.items() for alias in aliases.split()}
_SEARCH_KEYS = frozenset({"tune", "bench", "space", "num_samples", "seeds", "search_space"})


@dataclass(frozen=True)
class Expected:
    """What belongs at a place.

    Attributes:
        kind: text, truth, whole, number, choice, duration, size, list, mapping, section, any or unknown.
        section: The model, where the kind is section.
        choices: The allowed values, where the kind is choice.
        field: The model's field, where the place is one.
    """

    kind: str
    section: type[BaseModel] | None = None
    choices: tuple[Any, ...] = ()
    field: FieldInfo | None = None

    @property
    def phrase(self) -> str:
        """In words, after "must be"."""
        if self.kind == "choice":
            shown = [str(choice) for choice in self.choices]
            return shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"
        return {
            "text": "text",
            "truth": "true or false",
            "whole": "a whole number",
            "number": "a number",
            "duration": "a duration such as 45s, 90m, 6h or 1h30m",
            "size": "a size such as 512MiB or 4GiB",
            "list": "a list such as [a, b]",
            "mapping": "a mapping such as {key: value}",
            "section": "a mapping",
        }.get(self.kind, "another value")


def expected(path: Path, root: type[BaseModel] = TrainJob) -> Expected:
    """What belongs at a place of the job file.

    Args:
        path: The place.
        root: The model of the file's kind.
    """
    annotation: Any = root
    metadata: Sequence[Any] = ()
    field: FieldInfo | None = None
    if path == ("kind",):
        return Expected("choice", choices=tuple(KINDS), field=root.model_fields["kind"])
    for part in path:
        annotation, _ = _core(annotation, ())
        if annotation is Any:
            return Expected("any")
        field = None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(part))
            if field is None:
                return Expected("unknown")
            annotation, metadata = field.annotation, field.metadata
        elif get_origin(annotation) in (dict, list):
            annotation, metadata = get_args(annotation)[-1], ()
        else:
            return Expected("unknown")
    return _described(*_core(annotation, metadata), field)


def _core(annotation: Any, metadata: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """The annotation without ``Annotated`` and ``| None``, and all that was said about it."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            metadata = [*metadata, *more]
        elif get_origin(annotation) in (Union, UnionType):
            real = [each for each in get_args(annotation) if each is not type(None)]
            if len(real) > 1:
                return object, metadata
            annotation = real[0]
        else:
            return annotation, metadata


def _described(annotation: Any, metadata: Sequence[Any], field: FieldInfo | None) -> Expected:
    validators = [getattr(each, "func", None) for each in metadata]
    if duration_seconds in validators:
        return Expected("duration", field=field)
    if size_bytes in validators:
        return Expected("size", field=field)
    if get_origin(annotation) is Literal:
        return Expected("choice", choices=get_args(annotation), field=field)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Expected("section", section=annotation, field=field)
    origin = get_origin(annotation) or annotation
    kinds = {
        str: "text",
        bool: "truth",
        int: "whole",
        float: "number",
        list: "list",
        dict: "mapping",
        Any: "any",
    }
    return Expected(kinds.get(origin, "unknown"), field=field)


def _walk(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        inner, _ = _core(field.annotation, ())
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _walk(inner, f"{prefix}{name}.")


@cache
def _places(root: type[BaseModel]) -> dict[str, list[str]]:
    """Every key's name and the dotted paths it has."""
    found: dict[str, list[str]] = {}
    for path in _walk(root):
        found.setdefault(path.rpartition(".")[2], []).append(path)
    return found


@cache
def _right(root: type[BaseModel]) -> dict[str, str]:
    """Names used elsewhere, for keys that a kind of job has."""
    paths = {path for paths in _places(root).values() for path in paths}
    return {alias: right for alias, right in _RIGHT.items() if right in paths}


def unknown_key(path: Path, root: type[BaseModel] = TrainJob) -> str:
    """The message for a key that does not belong where it is.

    Args:
        path: The key.
        root: The model of the file's kind.
    """
    *parent, last = path
    key = str(last).lower().replace("-", "_").replace(" ", "_")
    section = expected(tuple(parent), root).section
    names = list(section.model_fields) if section else []
    right = _right_keys(key, ".".join(map(str, parent)), names, root)
    if right:
        return f"unknown key: did you mean {' or '.join(right)}?"
    if key in _SEARCH_KEYS:
        return f"unknown key: it belongs to another kind of job, and this version runs {kinds_words()} only"
    if not parent and (kinds := [kind for kind, model in KINDS.items() if key in model.model_fields]):
        return f"unknown key: it belongs to kind: {kinds[0]}"
    if "params" in names:
        where = ".".join(map(str, parent))
        return f"unknown key: arguments of your own go under {where}.params"
    return f"unknown key: must be one of {', '.join(names)}"


def kinds_words() -> str:
    """The kinds of job that this version runs."""
    return f"kind: {' and '.join(KINDS)}"


def _right_keys(key: str, parent: str, names: list[str], root: type[BaseModel]) -> list[str]:
    prefix = f"{parent}." if parent else ""
    places, aliases = _places(root), _right(root)
    if key in names:  # written with dashes or capitals
        return [prefix + key]
    if len(key) > _LONGEST_KEY:
        return []
    if key in aliases:
        return [aliases[key]]
    if near := difflib.get_close_matches(key, names, 1, 0.75):
        return [prefix + near[0]]
    if key in places:
        return places[key] if len(places[key]) <= 2 else []
    if near := difflib.get_close_matches(key, [*places, *aliases], 1, 0.8):
        found = [aliases[near[0]]] if near[0] in aliases else places[near[0]]
        return found if len(found) <= 2 else []
    return []


def near(word: str, choices: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The choice nearest to a word, if one is near."""
    if len(word) > _LONGEST_KEY:
        return None
    lowered = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), lowered, 1, cutoff)
    return lowered[found[0]] if found else None
