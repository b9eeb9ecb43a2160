"""Sets of numbers kept as ranges: which rows of a sender came, and which are durable."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Ranges:
    """Numbers, as few ranges in ascending order that neither touch nor overlap."""

    def __init__(self, parts: Iterable[range] = ()) -> None:
        self.parts: list[range] = []
        for part in parts:
            self.add(part)

    def add(self, more: range) -> None:
        """Add the numbers of a range."""
        if not more:
            return
        if self.parts and more.start == self.parts[-1].stop:  # what comes in order, which is nearly always
            self.parts[-1] = range(self.parts[-1].start, more.stop)
            return
        merged: list[range] = []
        for part in sorted([*self.parts, more], key=lambda part: part.start):
            if merged and part.start <= merged[-1].stop:
                merged[-1] = range(merged[-1].start, max(part.stop, merged[-1].stop))
            else:
                merged.append(part)
        self.parts = merged

    def missing(self, wanted: range) -> list[range]:
        """The parts of ``wanted`` that are not in here."""
        found, at = [], wanted.start
        for part in self.parts:
            if at < min(part.start, wanted.stop):
                found.append(range(at, min(part.start, wanted.stop)))
            at = max(at, part.stop)
        if at < wanted.stop:
            found.append(range(at, wanted.stop))
        return found

    def __contains__(self, number: int) -> bool:
        after = bisect_right(self.parts, number, key=lambda part: part.start)
        return after > 0 and number in self.parts[after - 1]


class Received:
    """What one sender pushed. Pushes may come twice, late and out of order.

    Args:
        first: The number of the first row of the first push.
    """

    def __init__(self, first: int) -> None:
        self._before = first - 1  # nothing at or below it can be asked for: the sender has let go of it
        self._came = Ranges()
        self._waiting: list[range] = []

    def take(self, first: int, count: int) -> list[range]:
        """Note a push; return the numbers that are new, which now wait to be durable."""
        self._before = min(self._before, first - 1)
        new = self._came.missing(range(first, first + count))
        for part in new:
            self._came.add(part)
        self._waiting += new
        return new

    def durable(self, part: range) -> None:
        """Note that a range which ``take`` returned has been written."""
        self._waiting.remove(part)

    @property
    def flushed(self) -> int:
        """The highest number that is durable with all before it."""
        came = self._came.parts
        contiguous = came[0].stop - 1 if came and came[0].start == self._before + 1 else self._before
        return min([contiguous, *(part.start - 1 for part in self._waiting)])
