"""Deals samples to train, validation and test: by share, in order or at random, by class, or by folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dlcluster.errors import DataError

if TYPE_CHECKING:
    from dlcluster.spec.data import Split

Indices = np.ndarray[Any, np.dtype[np.int64]]


def split_indices(
    count: int, split: Split, *, classes: np.ndarray[Any, Any] | None = None, given: frozenset[str] = frozenset()
) -> dict[str, Indices]:
    """Deals ``count`` samples to the splits.

    The same samples, split and seed give the same splits everywhere.

    Args:
        count: Number of samples.
        split: The job's ``data.split``.
        classes: Class of each sample, ``(count,)``, for ``stratify``.
        given: Splits that have files of their own; they get nothing of these samples, and the others their shares
            of what is left.

    Returns:
        Indices by split, sorted; one of ``given`` has none.

    Raises:
        DataError: When stratifying needs classes and there are none, or a class has fewer samples than splits.
    """
    if split.stratify:
        if classes is None:
            raise DataError("data.split.stratify: there are no classes to stratify by")
        groups = [np.flatnonzero(classes == value) for value in np.unique(classes)]
        needed = split.folds or sum(share > 0 for share in _shares(split, given).values())
        for group in groups:
            if len(group) < needed:
                raise DataError(
                    f"data.split.stratify: class {classes[group[0]]} has {len(group)} samples, fewer than the {needed} "
                    f"{'folds' if split.folds else 'splits'}"
                )
    else:
        groups = [np.arange(count)]
    parts: dict[str, list[Indices]] = {"train": [], "validation": [], "test": []}
    for number, group in enumerate(groups):
        ordered = group
        if split.by != "time":
            ordered = np.random.Generator(np.random.PCG64([split.seed, number])).permutation(group)
        for name, part in _deal(ordered, split, given).items():
            parts[name].append(part)
    return {name: np.sort(np.concatenate(pieces)).astype(np.int64) for name, pieces in parts.items()}


def _shares(split: Split, given: frozenset[str]) -> dict[str, float]:
    shares = {"train": split.train, "validation": split.validation, "test": split.test}
    shares = {name: 0.0 if name in given else share for name, share in shares.items()}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _deal(ordered: Indices, split: Split, given: frozenset[str]) -> dict[str, Indices]:
    if split.folds is not None:
        edges = [round(len(ordered) * i / split.folds) for i in (split.fold, split.fold + 1)]
        test = ordered[edges[0] : edges[1]]
        rest = np.concatenate([ordered[: edges[0]], ordered[edges[1] :]])
        held = 0 if "validation" in given else round(len(rest) * split.validation)
        return {"train": rest[: len(rest) - held], "validation": rest[len(rest) - held :], "test": test}
    shares = _shares(split, given)
    train = round(len(ordered) * shares["train"])
    validation = round(len(ordered) * (shares["train"] + shares["validation"]))
    return {"train": ordered[:train], "validation": ordered[train:validation], "test": ordered[validation:]}
