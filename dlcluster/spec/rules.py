"""What two keys may not say together; one list for files with other faults and for finished jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

Path = tuple[str | int, ...]
Get = Callable[..., Any]
"""``get("training", "epochs")`` is the value (a default where the file has none; None where a part of the
path is None) and raises ``UnknownValueError`` where the value is faulty itself."""


class UnknownValueError(Exception):
    """A rule asked for a value that has a fault of its own, so the rule cannot be judged."""


def conflicts(get: Get, kind: str = "train") -> Iterator[tuple[Path, str]]:
    """Yield every broken rule as the path to point at and the message.

    Args:
        get: See `Get`.
        kind: Of the job.
    """
    for rule in _RULES_OF_ALL if kind == "predict" else _RULES:
        try:
            yield from list(rule(get))
        except UnknownValueError:
            continue


def _data_source(get: Get) -> Iterator[tuple[Path, str]]:
    name, path = get("data", "name"), get("data", "path")
    if name is None and path is None:
        yield ("data",), "needs a name (a data set) or a path (files of your own): add name: co2"
    elif name is not None and path is not None:
        yield ("data", "path"), "conflicts with data.name: keep one of the two"


def _split_sum(get: Get) -> Iterator[tuple[Path, str]]:
    shares = [float(get("data", "split", part)) for part in ("train", "validation", "test")]
    if abs(sum(shares) - 1) > 1e-6:
        listed = " + ".join(f"{share:g}" for share in shares)
        yield (
            ("data", "split"),
            f"train + validation + test must add up to 1 (got {listed} = {sum(shares):.6g})",
        )


def _optimizer(get: Get) -> Iterator[tuple[Path, str]]:
    name = get("training", "optimizer", "name")
    for key, default, users in (
        ("momentum", 0, ("sgd", "rmsprop")),
        ("beta1", 0.9, ("adam", "adamw")),
        ("beta2", 0.999, ("adam", "adamw")),
    ):
        value = get("training", "optimizer", key)
        if value != default and name not in users:
            message = (
                f"is for {' and '.join(users)} only, not for {name} (got {value:g}): remove it, or write "
                f"name: {users[0]}"
            )
            yield ("training", "optimizer", key), message


def _nesterov(get: Get) -> Iterator[tuple[Path, str]]:
    if not get("training", "optimizer", "nesterov"):
        return
    path = ("training", "optimizer", "nesterov")
    if get("training", "optimizer", "name") != "sgd":
        yield path, f"is for sgd only, not for {get('training', 'optimizer', 'name')}: remove it, or write name: sgd"
    elif get("training", "optimizer", "momentum") == 0:
        yield path, "needs momentum: write training.optimizer.momentum: 0.9"


def _lr_scheduler(get: Get) -> Iterator[tuple[Path, str]]:
    name = get("training", "lr_scheduler", "name")
    for key, default, users in (
        ("factor", 0.1, ("step", "reduce_on_plateau")),
        ("every_epochs", 10, ("step",)),
        ("patience", 3, ("reduce_on_plateau",)),
    ):
        if get("training", "lr_scheduler", key) != default and name not in users:
            yield ("training", "lr_scheduler", key), f"is for {' and '.join(users)} only, not for {name}: remove it"
    if name == "one_cycle" and get("training", "lr_scheduler", "warmup_steps"):
        yield ("training", "lr_scheduler", "warmup_steps"), "is not for one_cycle, which warms up by itself: remove it"


def _folds(get: Get) -> Iterator[tuple[Path, str]]:
    folds, fold = get("data", "split", "folds"), get("data", "split", "fold")
    if folds is None and fold != 0:
        yield ("data", "split", "fold"), "needs data.split.folds: say how many folds there are"
    elif folds is not None and fold >= folds:
        yield ("data", "split", "fold"), f"must be below data.split.folds ({folds}), the first is 0 (got {fold})"
    if folds is not None and get("data", "split", "files", "test") is not None:
        yield ("data", "split", "folds"), "conflicts with data.split.files.test: the test split is one or the other"


def _split_order(get: Get) -> Iterator[tuple[Path, str]]:
    if get("data", "split", "stratify") and get("data", "split", "by") == "time":
        yield ("data", "split", "stratify"), "conflicts with data.split.by: time: keep one of the two"


def _task(get: Get) -> Iterator[tuple[Path, str]]:
    yield from task_conflicts(get("data", "task"), get)


def task_conflicts(task: str | None, get: Get) -> Iterator[tuple[Path, str]]:
    """Yield what a task and a loss do not allow elsewhere in the file.

    Args:
        task: What is learnt; None where only the name of the data set could tell.
        get: See `Get`.
    """
    loss = get("training", "loss")
    for key, losses, tasks in (
        ("class_weights", ("cross_entropy", "bce"), ("classification",)),
        ("label_smoothing", ("cross_entropy",), ("classification", "language_model")),
    ):
        if not get("training", key):
            continue
        if loss is not None and loss not in losses:
            yield ("training", key), f"is for the loss {' or '.join(losses)}, not for {loss}: remove it"
        elif task is not None and task not in tasks:
            yield ("training", key), f"is for the task {' or '.join(tasks)}, not for {task}: remove it"
    if task is None:
        return
    if get("data", "split", "stratify") and task != "classification":
        yield ("data", "split", "stratify"), f"is for the task classification, not for {task}: remove it"
    if get("data", "split", "by") == "random" and task in ("forecast", "language_model"):
        yield (
            ("data", "split", "by"),
            f"random would let a {task} see what comes after its test: write time, or leave it out",
        )


def _batch_covers_workers(get: Get) -> Iterator[tuple[Path, str]]:
    batch, workers = get("training", "global_batch_size"), get("resources", "num_workers")
    if batch < workers:
        message = f"is {batch}, less than resources.num_workers ({workers}): each worker needs a sample per step"
        yield ("training", "global_batch_size"), message
        return
    parts = get("training", "gradient_accumulation")
    if parts > 1 and batch < workers * parts:
        message = (
            f"is {parts}, but a batch of {batch} has {batch // workers} samples for each worker: each part needs one"
        )
        yield ("training", "gradient_accumulation"), message


def _secret_in_env(get: Get) -> Iterator[tuple[Path, str]]:
    secrets = set(get("secrets"))
    for name in get("env"):
        if name in secrets:
            yield ("env", name), "is also under secrets: keep one of the two"


def _validation_needed(get: Get) -> Iterator[tuple[Path, str]]:
    if get("data", "split", "validation") != 0 or get("data", "split", "files", "validation") is not None:
        return
    for path in (("checkpoint", "metric"), ("training", "early_stopping", "metric")):
        metric = get(*path)
        if path[0] == "checkpoint" and get("data", "task") == "generation":
            continue  # it keeps its last epoch
        if isinstance(metric, str) and metric.startswith("validation_"):
            yield (
                path,
                f"is {metric}, but data.split.validation is 0: write train_loss, or validate on a share",
            )


def _smaller_generator(get: Get) -> Iterator[tuple[Path, str]]:
    if get("data", "task") != "generation":
        return
    for key in ("prune", "quantize"):
        if get("export", key) is not None:
            yield ("export", key), "is measured by a test metric, which generation has none of: remove it"


def _named_twice(*path: str) -> Callable[[Get], Iterator[tuple[Path, str]]]:
    def rule(get: Get) -> Iterator[tuple[Path, str]]:
        seen: set[str] = set()
        names: Sequence[str] = get(*path)
        for index, name in enumerate(names):
            if name in seen:
                yield (*path, index), f"{name} is in the list already: remove one"
            seen.add(name)

    return rule


_RULES_OF_ALL: tuple[Callable[[Get], Iterator[tuple[Path, str]]], ...] = (_secret_in_env, _named_twice("secrets"))
_RULES: tuple[Callable[[Get], Iterator[tuple[Path, str]]], ...] = (
    _data_source,
    _split_sum,
    _optimizer,
    _nesterov,
    _lr_scheduler,
    _folds,
    _split_order,
    _task,
    _batch_covers_workers,
    _validation_needed,
    _smaller_generator,
    *_RULES_OF_ALL,
    _named_twice("training", "metrics"),
)
