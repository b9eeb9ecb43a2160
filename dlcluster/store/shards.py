"""Live shards: their names, which of them to read, and merging them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dlcluster.errors import ObjectNotFound
from dlcluster.store import keys
from dlcluster.store.objects import Objects
from dlcluster.store.ranges import Ranges
from dlcluster.store.schema import COLUMNS, concat, conform, read_parquet, rows_to_table, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

# Each incarnation of a claim's writer numbers its rows in a block of its own, so that a write of a dead one
# that lands late cannot share a number with another row.
BLOCK = 10**9
_SENDERS = b"dlcluster.senders"
_SHARD = re.compile(r"f([0-9]+)/([a-z_]+)-([0-9]{12})-([0-9]{12})\.parquet")


class Shard(NamedTuple):
    """Rows ``first`` to ``last`` of a table, as one claim's writer put them."""

    key: str
    fence: int
    table: str
    first: int
    last: int


def list_shards(objects: Objects, run_id: str, fence: int | None = None) -> list[Shard]:
    """List a run's live shards, of all fences or one."""
    base = keys.live(run_id)
    found = []
    for info in objects.list(base if fence is None else f"{base}f{fence}/"):
        match = _SHARD.fullmatch(info.key[len(base) :])
        if match and match[2] in COLUMNS:
            found.append(Shard(info.key, int(match[1]), match[2], int(match[3]), int(match[4])))
    return found


def whole(shards: Iterable[Shard]) -> list[Shard]:
    """Leave out shards that lie within a merged one, and make sure that none is missing.

    A listing is no snapshot: while shards merge it may show neither them nor what they became. A writer puts
    shards one after the other, so a gap means that this happened.

    Raises:
        ObjectNotFound: There is a gap.
    """
    groups: dict[tuple[int, str, int], list[Shard]] = defaultdict(list)
    for shard in shards:
        groups[shard.fence, shard.table, shard.first // BLOCK].append(shard)
    kept = []
    for (fence, table, block), group in sorted(groups.items()):
        end = block * BLOCK
        for shard in sorted(group, key=lambda shard: (shard.first, -shard.last)):
            if shard.last <= end:
                continue
            if shard.first > end + 1:
                raise ObjectNotFound(f"rows {end + 1} to {shard.first - 1} of {table}, claim {fence}, are not there")
            kept.append(shard)
            end = shard.last
    return kept


def read_shards(objects: Objects, shards: Iterable[Shard], names: Collection[str]) -> dict[str, list[pa.Table]]:
    """Read the shards of some tables.

    Raises:
        ObjectNotFound: One of them was merged or cleaned since it was listed.
    """
    wanted = [shard for shard in whole(shards) if shard.table in names]
    tables: dict[str, list[pa.Table]] = {name: [] for name in names}
    for shard, data in zip(wanted, objects.map(lambda shard: objects.get(shard.key), wanted), strict=True):
        tables[shard.table].append(conform(shard.table, read_parquet(data)))
    return tables


def encode(table: str, rows: list[dict[str, object]], senders: Mapping[str, Ranges]) -> bytes:
    """Write rows as a shard that says which of each sender's rows were seen to when it was made.

    Raises:
        ValueError: A row does not fit the table.
    """
    return write_parquet(rows_to_table(table, rows), metadata=_metadata(senders))


def _metadata(senders: Mapping[str, Ranges]) -> dict[str, str]:
    numbers = {name: [[part.start, part.stop] for part in one.parts] for name, one in senders.items()}
    return {_SENDERS.decode(): json.dumps(numbers)}


def senders_of(data: bytes) -> dict[str, Ranges]:
    """Which of each sender's rows a shard has seen to: those of its table among them are in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
    numbers = json.loads(metadata.get(_SENDERS, b"{}"))
    return {name: Ranges(range(start, stop) for start, stop in parts) for name, parts in numbers.items()}


def merge(objects: Objects, run_id: str, shards: list[Shard]) -> Shard:
    """Put neighbouring shards of one table as one, then delete them."""
    fence, table = shards[0].fence, shards[0].table
    data = [objects.get(shard.key) for shard in shards]
    senders: dict[str, Ranges] = defaultdict(Ranges)
    for one in data:
        for name, numbers in senders_of(one).items():
            for part in numbers.parts:
                senders[name].add(part)
    first, last = shards[0].first, shards[-1].last
    merged = Shard(keys.shard(run_id, fence, table, first, last), fence, table, first, last)
    rows = concat(table, map(read_parquet, data)).combine_chunks()
    objects.put(merged.key, write_parquet(rows, metadata=_metadata(senders)))
    objects.delete(shard.key for shard in shards)
    return merged
