"""The tables of a job as columns below each other: which are read, of what kind, and where each row came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dlcluster.data.columns import (
    Column,
    Names,
    as_names,
    as_numbers,
    holds_text,
    in_order,
    is_mostly_numbers,
    joined,
    missing_in,
    rows_of,
    taken,
)
from dlcluster.data.read import read_table
from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    import pyarrow as pa

    from dlcluster.data.params import TableParams
    from dlcluster.data.source import Source
    from dlcluster.data.splits import Indices

_FEW_CLASSES = 20


@dataclass(frozen=True)
class Frame:
    """Columns of one or several tables below each other.

    Attributes:
        columns: By name; the target is the last.
        rows: Which row of its table each is, from 1.
        starts: Where each table begins, and the end.
        paths: Of each table.
        notes: Lines for the log.
    """

    columns: Mapping[str, Column]
    rows: Indices
    starts: Sequence[int]
    paths: Sequence[str]
    notes: Sequence[str]

    def place(self, row: int) -> str:
        """Where a row came from, in words."""
        table = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"row {self.rows[row]} of {self.paths[table]}"


def read_frame(task: str, source: Source, params: TableParams) -> Frame:
    """Reads all tables of a job; those of validation and test come after the one that is dealt.

    Args:
        task: ``classification`` or ``regression``.
        source: Where they lie.
        params: Columns, and how to fill.

    Raises:
        DataError: When a column is not there or not usable, or values are missing without a rule.
    """
    paths = source.paths
    kinds: dict[str, bool] = {}  # whether a column holds names
    tables: list[dict[str, Column]] = []
    rows: list[Indices] = []
    notes: list[str] = []
    for path in paths:
        table, where = read_table(path, source.format, header=params.header), f"data.path: {path}"
        if not table.num_rows:
            raise DataError(f"{where}: has no rows")
        kinds = kinds or _kinds(table, where, task, params)
        columns = {name: _column(taken(table, name, where, _key(params, name)), name, where, named, params)
                   for name, named in kinds.items()}  # fmt: skip
        kept = np.arange(table.num_rows)
        if params.missing == "drop":
            whole = ~np.any([missing_in(column) for column in columns.values()], axis=0)
            kept = np.flatnonzero(whole)
            if not len(kept):
                raise DataError(f"{where}: each row lacks a value, so missing: drop leaves none")
            if len(kept) < len(whole):
                notes.append(f"{path}: {len(whole) - len(kept)} of {len(whole)} rows lack a value and are dropped")
        _refuse_missing(columns, where, params)
        tables.append({name: rows_of(column, kept) for name, column in columns.items()})
        rows.append(kept + 1)
    together = {name: joined([columns[name] for columns in tables]) for name in kinds}
    starts = np.cumsum([0, *(len(kept) for kept in rows)]).tolist()
    return Frame(together, np.concatenate(rows), starts, paths, notes)


def class_names_of(target: Names, where: str) -> tuple[str, ...]:
    """Returns the classes of a target in order: by number where all are numbers, else as text.

    Args:
        target: Of all splits.
        where: Beginning of a message.

    Raises:
        DataError: When there is one only, or too many, or two that look like one.
    """
    counts = target.counts()
    if len(counts) < 2:
        raise DataError(f"{where} has one class only: {next(iter(counts))!r}")
    spelt: dict[str, str] = {}
    for name in in_order(list(counts)):
        other = spelt.setdefault(name.strip().rstrip(".").rstrip().casefold(), name)
        if other != name:
            raise DataError(
                f"{where} has both {other!r} ({_rows(counts[other])}) and {name!r} ({_rows(counts[name])})",
                hint="These look like one class, spelt in two ways: write them alike.",
            )
    if len(counts) > max(_FEW_CLASSES, len(target.codes) // 2):
        raise DataError(
            f"{where} has {len(counts)} different values in {len(target.codes)} rows, too many to be classes",
            hint="For numbers to be predicted as such, write data.task: regression.",
        )
    return tuple(in_order(list(counts)))


def _kinds(table: pa.Table, where: str, task: str, params: TableParams) -> dict[str, bool]:
    """Which columns are read, in order, and whether each holds names; the target comes last."""
    target = params.target
    taken(table, target, where, "data.params.target")
    chosen = params.columns if params.columns is not None else [name for name in table.column_names if name != target]
    for key, names in (("columns", chosen), ("categorical", params.categorical or [])):
        if target in names:
            raise DataError(f"data.params.{key}: {target!r} is the target", hint="Leave it out of this list.")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"data.params.{key}: {twice!r} is in the list twice")
        for name in names:
            taken(table, name, where, f"data.params.{key}")
    if not chosen:
        raise DataError(f"{where}: there is no column but the target {target!r}")
    for name in params.categorical or []:
        if name not in chosen:
            raise DataError(f"data.params.categorical: {name!r} is not among data.params.columns; {near(name, chosen)}")
    kinds = {}
    for name in chosen:
        by_default = holds_text(table[name]) and not is_mostly_numbers(table[name])
        kinds[name] = by_default or name in (params.categorical or [])
    return {**kinds, target: task == "classification"}


def _key(params: TableParams, name: str) -> str:
    return "data.params.target" if name == params.target else "data.params.columns"


def _column(array: pa.ChunkedArray, name: str, where: str, named: bool, params: TableParams) -> Column:
    if named:
        return as_names(array, name, where)
    hint = "For classes to be told apart, write data.task: classification." if name == params.target else None
    return as_numbers(array, name, where, hint)


def _refuse_missing(columns: Mapping[str, Column], where: str, params: TableParams) -> None:
    for name, column in columns.items():
        missing = missing_in(column)
        if not missing.any() or params.missing == "drop" or (params.missing and name != params.target):
            continue
        count, first = int(missing.sum()), int(missing.argmax()) + 1
        raise DataError(
            f"{where}: column {name!r} lacks {count} of its {len(missing)} values (the first at row {first})",
            hint="It is the target, so leave these rows out: data.params.missing: drop"
            if name == params.target
            else "Say how to fill them: data.params.missing: mean | median | most_frequent | zero | drop",
        )


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"
