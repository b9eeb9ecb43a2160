"""Deals samples to train, validation and test: by share, in order or at random, by class, or by folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcluster.errors import DataError

if TYPE_CHECKING:
    from dlcluster.spec.data import Split

Indices = np.ndarray[Any, np.dtype[np.int64]]


def split_indices(
    count: int,
    split: Split,
    *,
    classes: np.ndarray[Any, Any] | None = None,
    class_names: Sequence[str] | None = None,
    given: frozenset[str] = frozenset(),
) -> dict[str, Indices]:
    """Deals ``count`` samples to the splits.

    The same samples, split and seed give the same splits everywhere. With ``folds`` the parts are equal but for
    one sample, number ``fold`` is the test split, and validation takes its share of what is left. With
    ``stratify`` every fold has equally many of each class but for one sample, and train its share of each class
    but for less than one sample.

    Args:
        count: Number of samples.
        split: The job's ``data.split``.
        classes: Class of each sample, ``(count,)``, for ``stratify``.
        class_names: What ``classes`` count; None when they are their own names.
        given: Splits that have files of their own; they get nothing of these samples, and the others their shares
            of what is left.

    Returns:
        Indices by split, sorted; one of ``given`` has none.

    Raises:
        DataError: When stratifying needs classes and there are none, or a class has fewer samples than splits.
    """
    generator = np.random.Generator(np.random.PCG64(split.seed))
    order = np.arange(count) if split.by == "time" else generator.permutation(count)
    shares = shares_of(split, given)
    groups = [order]
    if split.stratify:
        if classes is None:
            raise DataError(
                "data.split.stratify: there are no classes to stratify by", hint="It is for a classification."
            )
        _, counts = np.unique(classes, return_counts=True)
        by_class = order[np.argsort(classes[order], kind="stable")]
        groups = np.split(by_class, np.cumsum(counts)[:-1])
        needed = split.folds or sum(share > 0 for share in shares.values())
        _refuse_rare(groups, classes, class_names, needed, "splits" if split.folds is None else "folds")
    if split.folds is None:
        trained, validated = edges(count, shares)
        train, rest = _cut(groups, trained, generator)
        validation, test = _cut(rest, validated - trained, generator)
    else:
        in_test = _fold(count, split)
        # Class after class, dealt like cards: neither a class nor all of them together come out uneven.
        dealt = np.split(in_test, np.cumsum([len(group) for group in groups])[:-1])
        test = [group[mask] for group, mask in zip(groups, dealt, strict=True)]
        rest = [group[~mask] for group, mask in zip(groups, dealt, strict=True)]
        left = count - int(in_test.sum())
        held = 0 if "validation" in given else round(left * split.validation)
        train, validation = _cut(rest, left - held, generator)
    parts = {"train": train, "validation": validation, "test": test}
    return {name: np.sort(np.concatenate(pieces)).astype(np.int64) for name, pieces in parts.items()}


def shares_of(split: Split, given: frozenset[str] = frozenset()) -> dict[str, float]:
    """Returns each split's share of the samples that are dealt; they add up to 1.

    Args:
        split: The job's ``data.split``.
        given: Splits that have files of their own, and so no share.
    """
    shares = {"train": split.train, "validation": split.validation, "test": split.test}
    shares = {name: 0.0 if name in given else share for name, share in shares.items()}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def edges(count: int, shares: Mapping[str, float]) -> tuple[int, int]:
    """Returns where train ends and where validation ends among ``count`` samples in order."""
    return round(count * shares["train"]), round(count * (shares["train"] + shares["validation"]))


def _fold(count: int, split: Split) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which places in the order are tested on: every so many, or in the order of time a stretch."""
    folds = split.folds or 1
    if split.by != "time":
        every: np.ndarray[Any, np.dtype[np.bool_]] = np.arange(count) % folds == split.fold
        return every
    first, end = (round(count * i / folds) for i in (split.fold, split.fold + 1))
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[first:end] = True
    return chosen


def _cut(groups: Sequence[Indices], total: int, generator: np.random.Generator) -> tuple[list[Indices], list[Indices]]:
    """Takes ``total`` samples from the front of the groups, of each its share; returns them and what is left.

    What does not come out even goes to the largest remainders, as in Hamilton's apportionment.
    """
    sizes = np.array([len(group) for group in groups], dtype=np.int64)
    everything = max(int(sizes.sum()), 1)
    taken, remainders = np.divmod(sizes * total, everything)
    ties = generator.permutation(len(groups))  # else the same classes would go short whatever the seed
    largest = np.lexsort((ties, -remainders))[: total - int(taken.sum())]
    taken[largest] += 1
    front = [group[:size] for group, size in zip(groups, taken, strict=True)]
    return front, [group[size:] for group, size in zip(groups, taken, strict=True)]


def _refuse_rare(
    groups: Sequence[Indices], classes: np.ndarray[Any, Any], names: Sequence[str] | None, needed: int, what: str
) -> None:
    for group in groups:
        if len(group) >= needed:
            continue
        value = classes[group[0]]
        raise DataError(
            f"data.split.stratify: class {names[int(value)] if names else value} has {len(group)} "
            f"{'sample' if len(group) == 1 else 'samples'}, fewer than the {needed} {what}",
            hint=f"Give it more samples,{' use fewer folds,' * (what == 'folds')} or leave stratify out.",
        )
