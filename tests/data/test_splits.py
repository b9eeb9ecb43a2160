"""Samples are dealt once each, by share, class, fold or time; the same way for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import KFold, StratifiedKFold

from dlcluster.data.splits import split_indices
from dlcluster.errors import DataError
from dlcluster.spec.data import Split

WORDS = ("train", "validation", "test")


def split(**section: Any) -> Split:
    return Split.model_validate(section)


def lists(parts: dict[str, Any]) -> dict[str, list[int]]:
    return {name: part.tolist() for name, part in parts.items()}


def uneven_classes(seed: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.permutation(np.repeat(np.arange(7), rng.integers(5, 40, 7)))


@pytest.mark.parametrize("stratify", [False, True])
def test_shares_are_a_partition_of_the_right_sizes(stratify: bool) -> None:
    classes = uneven_classes(0)
    count = len(classes)
    parts = split_indices(count, split(stratify=stratify), classes=classes)
    assert sorted(i for name in WORDS for i in parts[name].tolist()) == list(range(count))
    assert [len(parts[name]) for name in WORDS] == [
        round(count * 0.7),
        round(count * 0.8) - round(count * 0.7),
        count - round(count * 0.8),
    ]
    for part in parts.values():
        assert part.tolist() == sorted(part.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_stratified_shares_have_each_class_by_its_share(seed: int) -> None:
    classes = uneven_classes(seed)
    parts = split_indices(len(classes), split(stratify=True, seed=seed), classes=classes)
    sizes = np.bincount(classes)
    share = {name: len(parts[name]) / len(classes) for name in WORDS}
    for name, most in (("train", 1.0), ("validation", 2.0), ("test", 2.0)):
        assert np.abs(np.bincount(classes[parts[name]], minlength=7) - sizes * share[name]).max() < most


def test_many_small_classes_still_give_each_split_its_share() -> None:
    classes = np.repeat(np.arange(100), 3)  # a share of 0.1 of three is less than one
    parts = split_indices(300, split(stratify=True), classes=classes)
    assert {name: len(part) for name, part in parts.items()} == {"train": 210, "validation": 30, "test": 60}
    assert np.bincount(classes[parts["train"]]).min() == 2


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_stratified_folds_are_as_even_as_those_of_scikit_learn(folds: int) -> None:
    classes = uneven_classes(3)
    ours = [
        split_indices(len(classes), split(stratify=True, folds=folds, fold=fold), classes=classes)["test"]
        for fold in range(folds)
    ]
    theirs = [part for _, part in StratifiedKFold(folds, shuffle=True, random_state=0).split(classes, classes)]
    assert sorted(np.concatenate(ours).tolist()) == list(range(len(classes)))
    for parts in (ours, theirs):
        by_class = np.array([np.bincount(classes[part], minlength=7) for part in parts])
        assert np.ptp(by_class, axis=0).max() <= 1
    assert np.ptp([len(part) for part in ours]) <= 1


def test_folds_without_classes_are_even_and_a_partition() -> None:
    ours = [split_indices(103, split(folds=5, fold=fold)) for fold in range(5)]
    sizes = sorted(len(part) for _, part in KFold(5, shuffle=True).split(np.arange(103)))
    assert sorted(len(parts["test"]) for parts in ours) == sizes
    assert sorted(np.concatenate([parts["test"] for parts in ours]).tolist()) == list(range(103))
    for parts in ours:
        assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(103))
        assert len(parts["validation"]) == round((103 - len(parts["test"])) * 0.1)


def test_folds_by_time_are_stretches() -> None:
    made = [lists(split_indices(10, split(folds=3, fold=fold, by="time", validation=0.0, test=0.3))) for fold in (0, 2)]
    assert made == [
        {"train": [3, 4, 5, 6, 7, 8, 9], "validation": [], "test": [0, 1, 2]},
        {"train": [0, 1, 2, 3, 4, 5, 6], "validation": [], "test": [7, 8, 9]},
    ]


def test_time_keeps_the_order() -> None:
    assert lists(split_indices(10, split(by="time"))) == {
        "train": [0, 1, 2, 3, 4, 5, 6],
        "validation": [7],
        "test": [8, 9],
    }


def test_a_seed_repeats_its_split_and_another_makes_another() -> None:
    classes = np.arange(60) % 3
    for section in ({}, {"stratify": True}, {"folds": 4}, {"folds": 4, "stratify": True}):
        first, again, other = (
            lists(split_indices(60, split(**section, seed=seed), classes=classes)) for seed in (0, 0, 1)
        )
        assert first == again
        assert all(first[name] != other[name] for name in WORDS)


def test_time_takes_no_notice_of_the_seed() -> None:
    first, other = (lists(split_indices(20, split(by="time", seed=seed))) for seed in (0, 1))
    assert first == other


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({"test"}, {"train": 70, "validation": 10, "test": 0}),
        ({"validation"}, {"train": 62, "validation": 0, "test": 18}),
        ({"validation", "test"}, {"train": 80, "validation": 0, "test": 0}),
    ],
)
def test_splits_with_files_of_their_own_get_none_of_these(given: set[str], sizes: dict[str, int]) -> None:
    parts = split_indices(80, split(), given=frozenset(given))
    assert {name: len(part) for name, part in parts.items()} == sizes


def test_folds_leave_validation_to_its_own_file() -> None:
    parts = split_indices(10, split(folds=5), given=frozenset({"validation"}))
    assert {name: len(part) for name, part in parts.items()} == {"train": 8, "validation": 0, "test": 2}


@pytest.mark.parametrize(
    ("section", "classes", "message"),
    [
        (
            {"stratify": True},
            None,
            "data.split.stratify: there are no classes to stratify by\nIt is for a classification.",
        ),
        (
            {"stratify": True},
            [0, 0, 0, 0, 1],
            "data.split.stratify: class dog has 1 sample, fewer than the 3 splits\n"
            "Give it more samples, or leave stratify out.",
        ),
        (
            {"stratify": True, "folds": 4},
            [0, 0, 0, 1, 1, 1, 1],
            "data.split.stratify: class cat has 3 samples, fewer than the 4 folds\n"
            "Give it more samples, use fewer folds, or leave stratify out.",
        ),
    ],
)
def test_what_cannot_be_stratified_is_refused(section: Any, classes: list[int] | None, message: str) -> None:
    given = None if classes is None else np.array(classes)
    with pytest.raises(DataError) as caught:
        split_indices(len(classes or [0]), split(**section), classes=given, class_names=("cat", "dog"))
    assert str(caught.value) == message
