"""The row rule: which rows of which attempt count, and how rows about one thing become one.

An attempt owns the epochs from its ``start_epoch`` on, until a later attempt of its trial starts at or below
them. Order is fence, then attempt: a zombie's attempt 2 under fence 1 comes before attempt 1 under fence 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]


def split_live(epochs: pa.Table, attempts: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Split epoch rows into those that count and those that a restore threw away.

    Args:
        epochs: Rows of ``epochs`` in any order, repeats included.
        attempts: Rows of ``attempts``; one that is missing is taken to start at its first epoch row.

    Returns:
        Live rows, exactly one per trial and epoch, and superseded ones; both by trial, fence, attempt, epoch,
        seq. Rows that differ in seq alone were sent twice: the last is kept. A row below its own attempt's
        start is a repeat from a checkpoint's history: it is kept only if the row it repeats is not there.
    """
    import numpy as np

    if epochs.num_rows == 0:
        return epochs, epochs
    epochs = epochs.combine_chunks()
    epoch, seq = _ints(epochs["epoch"]), _ints(epochs["seq"])
    group, start, first, last = _attempts_of(epochs, attempts, epoch)
    groups = len(start)

    # The owner: the latest attempt up to the row's own that starts at or below the epoch. The same from the
    # trial's last attempt on says who owns the epoch now.
    owner = _latest_start(group, first[group], start, epoch, nobody=groups)
    now = _latest_start(last[group], first[group], start, epoch, nobody=groups)

    width = int(epoch.max()) - int(epoch.min()) + 1
    offset = epoch - epoch.min()
    place = group * width + offset
    order = _order(place, seq)
    placed = place[order]
    kept = np.ones(len(order), dtype=np.bool_)
    kept[:-1] = placed[1:] != placed[:-1]  # sent twice: the highest seq
    if not np.array_equal(owner, group):
        _drop_repeats(order, kept, (owner * width + offset)[order], (owner == group)[order])
    live = (owner == now)[order]
    return _pick(epochs, order[kept & live]), _pick(epochs, order[kept & ~live])


def _drop_repeats(order: Ints, kept: Bools, owned: Ints, own: Bools) -> None:
    """Of the rows that tell of the same work keep the one that did it, else the earliest that repeats it."""
    import numpy as np

    rank = np.arange(len(order))
    best = np.lexsort((rank, ~own, ~kept, owned))
    again = owned[best][1:] == owned[best][:-1]
    kept[best[1:][again]] = False


def _order(place: Ints, seq: Ints) -> Ints:
    import numpy as np

    step = np.diff(place)
    if np.all((step > 0) | ((step == 0) & (np.diff(seq) >= 0))):
        return np.arange(len(place))
    order: Ints = np.lexsort((seq, place))
    return order


def _pick(table: pa.Table, rows: Ints) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    if len(rows) == table.num_rows and np.array_equal(rows, np.arange(len(rows))):
        return table
    return table.take(pa.array(rows))


def _attempts_of(epochs: pa.Table, attempts: pa.Table, epoch: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Number the attempts in order of trial, fence, attempt.

    Returns:
        Each row's attempt; and for each attempt its start epoch and its trial's first and last attempt.
    """
    import numpy as np
    import pyarrow as pa

    both = {
        name: pa.chunked_array([*epochs[name].chunks, *attempts[name].chunks], epochs[name].type)
        for name in ("trial_id", "fence", "attempt")
    }
    trial = _text_codes(both["trial_id"])
    version, _ = _codes((_ints(both["fence"]) << 32) | _ints(both["attempt"]))
    versions = int(version.max()) + 1
    group, found = _codes(trial * versions + version)
    of_rows, of_attempts = group[: epochs.num_rows], group[epochs.num_rows :]

    unknown = np.iinfo(np.int64).max
    start = np.full(len(found), unknown)
    known = np.asarray(attempts["start_epoch"].is_valid())
    by_seq = np.argsort(_ints(attempts["seq"])[known], kind="stable")  # the last one told counts
    start[of_attempts[known][by_seq]] = _ints(attempts["start_epoch"])[known][by_seq]
    missing = (start == unknown)[of_rows]
    np.minimum.at(start, of_rows[missing], epoch[missing])

    trials = found // versions
    first = np.searchsorted(trials, trials, side="left")
    last = np.searchsorted(trials, trials, side="right") - 1
    return of_rows, start, first, last


def _latest_start(begin: Ints, first: Ints, start: Ints, epoch: Ints, *, nobody: int) -> Ints:
    """Walk from attempt ``begin`` back to the first that starts at or below the epoch, all rows at a time.

    Where there is none, ``nobody`` + the trial's first attempt.
    """
    import numpy as np

    at = begin.copy()
    todo = np.flatnonzero(start[at] > epoch)
    while len(todo):
        over = at[todo] == first[todo]
        at[todo[over]] = nobody + first[todo[over]]
        todo = todo[~over]
        at[todo] -= 1
        todo = todo[start[at[todo]] > epoch[todo]]
    return at


def _ints(column: pa.ChunkedArray) -> Ints:
    import numpy as np
    import pyarrow as pa

    filled = column.fill_null(0) if column.null_count else column
    values: Ints = np.asarray(filled.cast(pa.int64()))
    return values


def _codes(values: Ints) -> tuple[Ints, Ints]:
    """Number values by rank; also the sorted distinct values. Hashes, since few differ."""
    import numpy as np
    import pyarrow as pa

    encoded = pa.array(values).dictionary_encode()
    found = np.asarray(encoded.dictionary)
    order = np.argsort(found)
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(len(found))
    return rank[np.asarray(encoded.indices)], found[order]


def _text_codes(column: pa.ChunkedArray) -> Ints:
    import numpy as np
    import pyarrow as pa

    whole = pa.concat_arrays(column.fill_null("").chunks) if column.num_chunks else pa.array([], pa.string())
    encoded = whole.dictionary_encode()
    found = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    rank = np.empty(len(found), dtype=np.int64)
    rank[np.argsort(found)] = np.arange(len(found))
    codes: Ints = rank[np.asarray(encoded.indices)]
    return codes


def last_of_each(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Keep the last row of each key, in the order of the keys: rows that were sent or merged twice."""
    import numpy as np

    if table.num_rows < 2:
        return table
    table = table.combine_chunks()
    columns = [_text_codes(table[key]) if _is_text(table[key]) else _ints(table[key]) for key in keys]
    order = np.lexsort(columns[::-1])
    changes = np.zeros(len(order), dtype=np.bool_)
    changes[-1] = True
    for column in columns:
        changes[:-1] |= column[order][1:] != column[order][:-1]
    return _pick(table, order[changes])


def _is_text(column: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(column.type))


def coalesce(rows: Sequence[dict[str, Any]], key: Sequence[str], together: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Make one row of all that tell of one thing: in each column the last value that is not null.

    Args:
        rows: In the order in which they were told.
        key: The columns that name the thing.
        together: Columns that belong to ``state``: a row with a state brings all of them, nulls too.

    Returns:
        One row per thing, in the order of the keys.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(tuple(row[column] for column in key), dict.fromkeys(row))
        one.update({column: value for column, value in row.items() if value is not None})
        if row.get("state") is not None:
            one.update({column: row[column] for column in together})
    return [found[name] for name in sorted(found)]
