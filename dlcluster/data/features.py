"""How one column of a table becomes inputs: fitted on train, applied to whatever comes later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcluster.data.columns import Column, Names, Numbers, in_order, missing_in
from dlcluster.data.params import TableParams
from dlcluster.errors import DataError

MOST_CATEGORIES = 1000
"""A column with more names than this is an id or free text, not a category."""
_MISSING = "(missing)"


@dataclass(frozen=True)
class Feature:
    """One column and what was fitted on train.

    Attributes:
        name: Of the column.
        fill: What stands in for a missing value; None where there is no such rule.
        shift: Subtracted from a number.
        scale: A number is divided by it after that.
        categories: Names with an input each, 0 or 1; None for a column of numbers.
    """

    name: str
    fill: float | str | None
    shift: float = 0.0
    scale: float = 1.0
    categories: tuple[str, ...] | None = None

    def config(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "name": self.name,
            "fill": self.fill,
            "shift": self.shift,
            "scale": self.scale,
            "categories": None if self.categories is None else list(self.categories),
        }

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Feature:
        """Makes a stored feature again."""
        categories = config["categories"]
        return Feature(**{**config, "categories": None if categories is None else tuple(categories)})

    def encoded(self, column: Column) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Makes inputs of a column, ``(rows, 1)`` of numbers or ``(rows, categories)`` of names.

        Args:
            column: Of the kind it was fitted on.
        """
        if not isinstance(column, Names):
            filled = column if self.fill is None else np.where(np.isnan(column), float(self.fill), column)
            return ((filled - self.shift) / self.scale).astype(np.float32).reshape(-1, 1)
        categories = self.categories or ()
        codes = column.coded(categories)
        if self.fill in categories:
            codes = np.where(missing_in(column), categories.index(str(self.fill)), codes)
        inputs: np.ndarray[Any, np.dtype[np.float32]] = np.equal.outer(codes, np.arange(len(categories))).astype("f4")
        return inputs


def fit_feature(name: str, column: Column, params: TableParams, where: str) -> Feature:
    """Fits a column on the rows of train.

    Numbers are filled by the mean, median, most frequent value (the smallest of several) or zero. Names are
    filled by the most frequent one; by the other rules a missing name becomes a category of its own.

    Args:
        name: Of the column.
        column: Its rows in train.
        params: How to fill and scale.
        where: Beginning of a message.

    Raises:
        DataError: When there is nothing to fit on, or there are too many names.
    """
    rule = params.missing
    if isinstance(column, Names):
        counts = column.counts()
        if len(counts) > MOST_CATEGORIES:
            raise DataError(
                f"{where}: column {name!r} has {len(counts):,} different names, more than the {MOST_CATEGORIES:,} that "
                "can have an input each",
                hint="Leave it out: name the columns the model reads in data.params.columns.",
            )
        fill = None
        if rule == "most_frequent" and counts:
            fill = max(in_order(list(counts)), key=counts.__getitem__)
        elif rule in ("mean", "median", "zero"):
            fill = _MISSING
            counts |= {_MISSING: 1} if missing_in(column).any() else {}
        if not counts:
            raise DataError(f"{where}: column {name!r} has no value in the {len(column.codes)} rows of train")
        return Feature(name, fill, categories=tuple(in_order(list(counts))))
    known = column[~np.isnan(column)]
    if not len(known) and rule != "zero":
        raise DataError(f"{where}: column {name!r} has no value in the {len(column)} rows of train")
    number = _filling(known, rule)
    filled = column if number is None else np.where(np.isnan(column), number, column)
    return Feature(name, number, *fit_scale(filled, params.scale))


def fit_scale(values: Numbers, kind: str) -> tuple[float, float]:
    """Returns what is subtracted from values and what they are divided by after that.

    Args:
        values: Of train, ``(rows,)``.
        kind: ``standard``, ``minmax`` or ``none``.
    """
    if kind == "none":
        return 0.0, 1.0
    if kind == "standard":
        shift, scale = float(values.mean()), float(values.std())
    else:
        shift, scale = float(values.min()), float(np.ptp(values))
    return shift, scale if scale > 0 else 1.0  # a constant column stays as it is


def _filling(known: Numbers, rule: str | None) -> float | None:
    if rule == "mean":
        return float(known.mean())
    if rule == "median":
        return float(np.median(known))
    if rule == "most_frequent":
        values, counts = np.unique(known, return_counts=True)
        return float(values[counts.argmax()])
    return 0.0 if rule == "zero" else None
