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


def conflicts(get: Get) -> Iterator[tuple[Path, str]]:
    """Yield every broken rule as the path to point at and the message."""
    for rule in _RULES:
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


def _momentum(get: Get) -> Iterator[tuple[Path, str]]:
    name, momentum = get("training", "optimizer", "name"), get("training", "optimizer", "momentum")
    if momentum != 0 and name != "sgd":
        message = f"is for sgd only, not for {name} (got {momentum:g}): remove it, or write name: sgd"
        yield ("training", "optimizer", "momentum"), message


def _batch_covers_workers(get: Get) -> Iterator[tuple[Path, str]]:
    batch, workers = get("training", "global_batch_size"), get("resources", "num_workers")
    if batch < workers:
        message = f"is {batch}, less than resources.num_workers ({workers}): each worker needs a sample per step"
        yield ("training", "global_batch_size"), message


def _secret_in_env(get: Get) -> Iterator[tuple[Path, str]]:
    secrets = set(get("secrets"))
    for name in get("env"):
        if name in secrets:
            yield ("env", name), "is also under secrets: keep one of the two"


def _validation_needed(get: Get) -> Iterator[tuple[Path, str]]:
    if get("data", "split", "validation") != 0:
        return
    for path in (("checkpoint", "metric"), ("training", "early_stopping", "metric")):
        metric = get(*path)
        if isinstance(metric, str) and metric.startswith("validation_"):
            yield (
                path,
                f"is {metric}, but data.split.validation is 0: write train_loss, or validate on a share",
            )


def _named_twice(*path: str) -> Callable[[Get], Iterator[tuple[Path, str]]]:
    def rule(get: Get) -> Iterator[tuple[Path, str]]:
        seen: set[str] = set()
        names: Sequence[str] = get(*path)
        for index, name in enumerate(names):
            if name in seen:
                yield (*path, index), f"{name} is in the list already: remove one"
            seen.add(name)

    return rule


_RULES: tuple[Callable[[Get], Iterator[tuple[Path, str]]], ...] = (
    _data_source,
    _split_sum,
    _momentum,
    _batch_covers_workers,
    _secret_in_env,
    _validation_needed,
    _named_twice("secrets"),
    _named_twice("training", "metrics"),
)
