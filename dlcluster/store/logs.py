"""Reader of a run's logs: whole lines, from where the last reading ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dlcluster.errors import ObjectNotFound
from dlcluster.store import keys
from dlcluster.store.batch import SEGMENT
from dlcluster.store.fence import numbers
from dlcluster.store.objects import Objects


@dataclass(frozen=True)
class LogCursor:
    """Up to where logs were read: the last line's number by ``<claim>/<stream>``."""

    seen: Mapping[str, int] = field(default_factory=dict)


def read_logs(
    objects: Objects, run_id: str, *, stream: str | None = None, after: LogCursor | None = None
) -> tuple[list[str], LogCursor]:
    """Read the lines that a run logged since ``after``, all claims, oldest first.

    Args:
        objects: Where.
        run_id: Whose.
        stream: One stream, None for all.
        after: What an earlier call returned, None for all lines.

    Returns:
        The lines, without their ends, and where to go on.
    """
    seen = dict(after.seen) if after else {}
    segments = []
    for fence in numbers(objects, keys.fences(run_id)) or [1]:
        prefix = keys.logs(run_id, fence)
        start = f"{stream}-{seen[f'{fence}/{stream}']:012d}" if stream and f"{fence}/{stream}" in seen else ""
        for info in objects.list(
            prefix + (f"{stream}-" if stream else ""), start_after=prefix + start if start else ""
        ):
            match = SEGMENT.fullmatch(info.key[len(prefix) :])
            if match is None or (stream and match[1] != stream):
                continue
            name, last = f"{fence}/{match[1]}", int(match[3])
            if last > seen.get(name, 0):
                segments.append((fence, info.modified, match[1], last, info.key))
    segments.sort()
    lines: list[str] = []
    for segment, data in zip(segments, objects.map(lambda one: _get(objects, one[-1]), segments), strict=True):
        fence, _, name, last, _ = segment
        lines += data.decode(errors="replace").removesuffix("\n").split("\n") if data else []
        seen[f"{fence}/{name}"] = max(last, seen.get(f"{fence}/{name}", 0))
    return lines, LogCursor(seen)


def _get(objects: Objects, key: str) -> bytes:
    try:
        return objects.get(key)
    except ObjectNotFound:  # the run was deleted meanwhile
        return b""
