"""One flush of a writer: waiting rows become objects, once, however often the put is tried."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dlcluster.store import keys
from dlcluster.store.objects import Objects
from dlcluster.store.ranges import Ranges
from dlcluster.store.schema import COLUMNS, LOG, Row
from dlcluster.store.shards import BLOCK, Shard, encode, list_shards, senders_of

LOG_LIMIT = 16 << 20
SEGMENT = re.compile(r"(.+)-([0-9]{12})-([0-9]{12})\.log")


@dataclass(frozen=True)
class Chunk:
    """Rows as one push brought them, with their sender's numbers."""

    sender: str
    numbers: range
    rows: Sequence[Row]


@dataclass
class Batch:
    """Objects still to be put for some chunks; the sequence they belong to never changes once made."""

    chunks: list[Chunk]
    puts: deque[tuple[str, bytes]] = field(default_factory=deque)
    shards: list[Shard] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        """How many rows wait for these puts."""
        return sum(len(chunk.rows) for chunk in self.chunks)


class Numbering:
    """Numbers rows and log lines, within a block that no other incarnation of the claim's writer uses."""

    def __init__(self, run_id: str, fence: int) -> None:
        self._run_id = run_id
        self._fence = fence
        self._last: Counter[str] = Counter()  # by table, and by "log/<stream>"
        self._log_bytes: Counter[str] = Counter()
        self._durable: dict[tuple[str, str], Ranges] = {}  # by table and sender: put by earlier incarnations
        self._block = -1

    def recover(self, objects: Objects) -> None:
        """Take a block of numbers; after a restart, learn what is durable already. Done once."""
        if self._block >= 0:
            return
        base = f"{keys.live(self._run_id)}f{self._fence}/"
        block = next(n for n in itertools.count() if objects.put_if_absent(f"{base}writer-{n}.json", b"{}"))
        if block:
            for shard in list_shards(objects, self._run_id, self._fence):
                for sender, numbers in senders_of(objects.get(shard.key)).items():
                    known = self._durable.setdefault((shard.table, sender), Ranges())
                    for part in numbers.parts:
                        known.add(part)
            prefix = keys.logs(self._run_id, self._fence)
            for info in objects.list(prefix):
                match = SEGMENT.fullmatch(info.key[len(prefix) :])
                if match:
                    self._log_bytes[match[1]] += info.size
        self._block = block

    def batch(self, chunks: list[Chunk]) -> Batch:
        """Number the rows of some chunks and encode them. Rows that do not fit their table go to a log."""
        tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for chunk in chunks:
            for number, (table, row) in zip(chunk.numbers, chunk.rows, strict=True):
                if not self._durable or number not in self._durable.get((table, chunk.sender), ()):
                    tables[table].append(row)
        before = self._last.copy(), self._log_bytes.copy()
        try:
            return self._encoded(chunks, tables)
        except BaseException:
            self._last, self._log_bytes = before  # a number that nothing has would look like a lost shard
            raise

    def _encoded(self, chunks: list[Chunk], tables: dict[str, list[dict[str, Any]]]) -> Batch:
        batch = Batch(chunks)
        logs: dict[str, list[str]] = defaultdict(list)
        for row in tables.pop(LOG, []):
            logs[_stream(row.get("stream"))].append(str(row.get("text", "")))
        for table, rows in tables.items():
            if table in COLUMNS:
                logs["rejected"] += self._add_shard(batch, table, rows)
            else:
                logs["rejected"] += [f"there is no table {table!r}: {row!r}" for row in rows]
        for stream, texts in logs.items():
            self._add_segment(batch, stream, texts)
        return batch

    def _next(self, name: str, count: int) -> tuple[int, int]:
        first = self._block * BLOCK + self._last[name] + 1
        self._last[name] += count
        return first, first + count - 1

    def _add_shard(self, batch: Batch, table: str, rows: list[dict[str, Any]]) -> list[str]:
        """Add a table's rows; return what to say of those that do not fit."""
        first, last = self._next(table, len(rows))
        columns = COLUMNS[table]
        numbered = [
            {**row, "run_id": self._run_id, "fence": self._fence_of(table, row)}
            | ({"seq": seq} if "seq" in columns else {})
            for seq, row in enumerate(rows, first)
        ]
        senders: dict[str, Ranges] = defaultdict(Ranges)
        for chunk in batch.chunks:
            senders[chunk.sender].add(chunk.numbers)
        rejected: list[str] = []
        try:
            data = encode(table, numbered, senders)
        except ValueError:  # one bad row must not hold back the others for ever
            good = []
            for row in numbered:
                try:
                    encode(table, [row], {})
                    good.append(row)
                except ValueError as error:
                    rejected.append(f"{error}: {row!r}")
            data = encode(table, good, senders)
        key = keys.shard(self._run_id, self._fence, table, first, last)
        batch.puts.append((key, data))
        batch.shards.append(Shard(key, self._fence, table, first, last))
        return rejected

    def _fence_of(self, table: str, row: dict[str, Any]) -> int:
        """The claim; an epoch out of a checkpoint's history keeps the one that computed it."""
        fence = row.get("fence")
        if table == "epochs" and isinstance(fence, int) and 0 < fence < self._fence:
            return fence
        return self._fence

    def _add_segment(self, batch: Batch, stream: str, texts: list[str]) -> None:
        before = self._log_bytes[stream]
        if before >= LOG_LIMIT or not texts:
            return
        data = "".join(text if text.endswith("\n") else text + "\n" for text in texts).encode(errors="replace")
        room = LOG_LIMIT - before
        if len(data) >= room:
            last_words = f"\n[dlcluster] {stream} exceeds {LOG_LIMIT >> 20} MiB: the rest is left out\n"
            data = data[:room] + last_words.encode()
            self._log_bytes[stream] = LOG_LIMIT
        else:
            self._log_bytes[stream] += len(data)
        first, last = self._next(f"log/{stream}", len(texts))
        prefix = keys.logs(self._run_id, self._fence)
        batch.puts.append((f"{prefix}{stream}-{first:012d}-{last:012d}.log", data))


def _stream(name: object) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", str(name or "log")).lstrip(".")[:100] or "log"


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)
