"""A stored model over pieces of data: rows are read, prepared, predicted and written, a few at a time."""

from __future__ import annotations

import bdb
import contextlib
import json
import queue
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dlcluster.data.kinds import Kind
from dlcluster.data.lines import How
from dlcluster.data.load import preparation_from
from dlcluster.data.pieces import Piece, tables
from dlcluster.data.predictions import OutFolder
from dlcluster.data.read import read_table
from dlcluster.errors import ComponentError, DataError, DlclusterError
from dlcluster.store.objects import open_objects
from dlcluster.training.ended import TrialEnded
from dlcluster.training.fit import place
from dlcluster.training.reload import load_model
from dlcluster.training.start import model_place

if TYPE_CHECKING:
    from dlcluster.data.prepared import Preparation
    from dlcluster.store.objects import Objects

_PREPARED_BYTES = 32 * 2**20
_MOST_ROWS = 2**16
_LEFT_OUT = ("image",)
"""Columns of the data that its predictions do not repeat: the bytes of picture files."""


@dataclass(frozen=True)
class Work:
    """What all workers of a prediction are told.

    Attributes:
        store: URI of the store.
        model: The run's id, or the model's uri.
        kind: Of the data that the model was trained on.
        data: As the job names it.
        how: How its files are read.
        schema: Of its rows.
        out: Where predictions go.
        batch_size: Rows the model is given at once.
        threads: CPU threads torch may use.
    """

    store: str
    model: str
    kind: Kind
    data: str
    how: How
    schema: pa.Schema
    out: OutFolder
    batch_size: int
    threads: int


def stored_preparation(objects: Objects, named: str) -> Preparation:
    """Makes what was fitted with a stored model again, without the model.

    Args:
        objects: The store that a run's id refers to.
        named: A run's id, or a model's uri.

    Raises:
        ComponentError: When there is no such model, or nothing was kept that could prepare data for it.
        StoreError: When it cannot be read.
    """
    try:
        store, prefix = model_place(objects, named)
    except ComponentError as error:
        raise ComponentError(error.message.replace("model.init_from", "predict.run", 1), hint=error.hint) from error
    config = json.loads(store.get(f"{prefix}/config.json"))
    fitted = config["preparation"]
    if fitted is None:
        raise ComponentError(
            f"predict.run: {named} was trained on a data function of your own ({config['data'].get('name')}); how "
            "other data becomes its input is not known",
            hint="Load its model in Python: dlcluster.training.reload.load_model.",
        )
    if config["task"] == "generation":
        raise ComponentError(f"predict.run: {named} makes new samples; it predicts nothing about those that are there")
    return preparation_from(fitted["kind"], fitted)


class Predictor:
    """A stored model, loaded once, over one piece after the other.

    Args:
        work: What to do.
        device: Where the model computes.
        stop: Returns a reason to stop, or None.

    Raises:
        DlclusterError: When the model cannot be loaded.
    """

    def __init__(self, work: Work, device: torch.device, stop: Callable[[], str | None] = lambda: None) -> None:
        torch.set_num_threads(work.threads)
        stored = load_model(open_objects(work.store), work.model)
        if stored.preparation is None:
            raise ComponentError(f"predict.run: {work.model}: nothing was kept that could prepare data for it")
        self.work, self.device, self.stop = work, device, stop
        self.model, self.preparation = stored.model.to(device), stored.preparation

    def piece(self, piece: Piece) -> Iterator[int]:
        """Predicts a piece and writes its file.

        Yields:
            How many rows were done since the last time.

        Raises:
            DataError: When rows cannot be read or are not what the model was trained on, with where they lie.
        """
        rows = rows_at_once(self.work)
        with contextlib.closing(_ahead(tables(piece, self.work.how, self.work.schema, rows))) as read:
            all_ = (self._predicted(table, piece, row) for table, row in read if table.num_rows)
            done = (table for table in all_ if table.num_rows)
            first = next(done, None)
            if first is None:
                return
            with self.work.out.writing(piece.number, first.schema) as write:
                write(first)
                yield first.num_rows
                for table in done:
                    if self.stop() is not None:
                        raise StoppedError
                    write(table.cast(first.schema))
                    yield table.num_rows

    def series(self) -> Iterator[int]:
        """Predicts a whole series from all its windows, and writes one file.

        Yields:
            How many rows were written.
        """
        work = self.work
        try:
            table = read_table(work.data, work.how.format, header=work.how.header)
        except DataError as error:
            raise DataError(error.message.replace("data.path", "predict.data", 1), hint=error.hint) from error
        columns = self.preparation.outputs(self._forward(self.preparation.inputs(table)), table)
        result = pa.table({name: as_arrow(values) for name, values in columns.items()})
        with work.out.writing(0, result.schema) as write:
            write(result)
        yield result.num_rows

    def _predicted(self, table: pa.Table, piece: Piece, row: int) -> pa.Table:
        """Rows with their predictions beside them."""
        try:
            prediction = self._forward(self.preparation.inputs(table))
            columns = self.preparation.outputs(prediction, table)
        except DataError as error:
            # Preparations count the rows they are given; these begin somewhere in a file.
            before = piece.first_row + row
            where = f"{piece.shown}, counted from row {before + 1:,} on" if before else piece.shown
            if piece.format == "images":
                return self._without_bad_pictures(table, piece, row, error)
            raise DataError(f"{where}: {error.message}", hint=error.hint) from error
        table = table.drop_columns([name for name in _LEFT_OUT if name in table.column_names])
        for name, values in columns.items():
            if name in table.column_names:
                raise DataError(
                    f"predict.data: the data has a column {name!r} already, as its predictions would",
                    hint="Call it something else in the data.",
                )
            table = table.append_column(name, as_arrow(values))
        return table

    def _without_bad_pictures(self, table: pa.Table, piece: Piece, row: int, error: DataError) -> pa.Table:
        """Leaves out files that are no pictures where training did; else says which one it is.

        Args:
            table: Rows of which one at least cannot be prepared.
            piece: Which they are of.
            row: How many of it come before them.
            error: Why.
        """
        good = []
        for number, path in enumerate(table["path"].to_pylist()):
            try:
                self.preparation.inputs(table.slice(number, 1))
            except DataError as why:
                words = f"{path}: {why.message.partition('row 1 ')[2] or why.message}"
                if getattr(getattr(self.preparation, "params", None), "bad_files", "refuse") != "skip":
                    raise DataError(words, hint=why.hint) from error
                print(f"skipped {words}", flush=True)
            else:
                good.append(number)
        if len(good) == table.num_rows:  # each is fine alone
            raise DataError(f"{piece.shown}: {error.message}", hint=error.hint) from error
        return self._predicted(table.take(good), piece, row) if good else table.slice(0, 0)

    def _forward(self, x: Tensor) -> Tensor:
        """Predictions of all rows, batch by batch."""
        with torch.inference_mode():
            parts = [self.model(part.to(self.device)).cpu() for part in torch.split(x, self.work.batch_size)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]


class StoppedError(Exception):
    """The run is to stop; the file under way is not kept."""


def rows_at_once(work: Work) -> int:
    """How many rows are read and prepared together: many of a narrow table, since each time has its price."""
    if work.kind != "table":
        return work.batch_size
    rows = _PREPARED_BYTES // (8 * max(len(work.schema), 1))
    return max(work.batch_size, min(rows, _MOST_ROWS))


def first_rows(preparation: Preparation, piece: Piece, how: How, schema: pa.Schema) -> None:
    """Prepares a few rows, to find out before a worker starts that a column is missing or of another kind.

    Raises:
        DataError: When they are not what the model was trained on.
    """
    table = next(tables(piece, how, schema, 8))
    if table.num_rows:
        try:
            preparation.inputs(table)
        except DataError as error:
            raise DataError(f"{piece.shown}: {error.message}", hint=error.hint) from error


def as_arrow(values: np.ndarray[Any, Any]) -> pa.Array:
    """Makes a column of an array ``(rows, ...)``; what each row has more than one of becomes a list."""
    if values.ndim == 1:
        return pa.array(values)
    size = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), size)


def ended_by(error: BaseException, stopped: str | None = None) -> TrialEnded:
    """Says how an attempt ended that raised something.

    Args:
        error: What it raised.
        stopped: Why it was asked to stop, if it was.
    """
    if isinstance(error, StoppedError):
        return TrialEnded("STOPPED", "stopped", stopped)
    if isinstance(error, DlclusterError):
        return TrialEnded("FAILED", "bad_job" if isinstance(error, ComponentError) else "infrastructure", str(error))
    if isinstance(error, torch.OutOfMemoryError):
        words = f"the GPU ran out of memory: {str(error).splitlines()[0]}; a smaller predict.batch_size needs less"
        return TrialEnded("FAILED", "out_of_memory", words)
    if isinstance(error, MemoryError):
        return TrialEnded("FAILED", "out_of_memory", f"this machine ran out of memory: {error}")
    if isinstance(error, bdb.BdbQuit):
        return TrialEnded("STOPPED", "stopped", "left from the debugger")
    words = f"{place(error)}{type(error).__name__}: {error}"
    return TrialEnded("FAILED", "user_error", words, details="".join(traceback.format_exception(error)))


def _ahead(read: Iterator[pa.Table]) -> Generator[tuple[pa.Table, int], None, None]:
    """Reads the next table while the one before it is predicted; each with how many rows come before it."""
    waiting: queue.Queue[Any] = queue.Queue(maxsize=1)
    left = threading.Event()

    def put(item: Any) -> None:
        while not left.is_set():
            try:
                waiting.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for table in read:
                put(table)
                if left.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="read", daemon=True)
    thread.start()
    row = 0
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item, row
            row += item.num_rows
    finally:
        left.set()
        thread.join()
