"""What a process prints, sent line by line to the run's log as well, with secrets masked."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Collection
from typing import TextIO

_SHORTEST_SECRET = 4
"""Shorter values are not masked: they would tear holes into ordinary words."""


def masked(text: str, secrets: Collection[str]) -> str:
    """Replaces every secret's value in a text."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


class Tee(io.TextIOBase):
    """A text stream that writes through to another and hands whole lines on.

    Args:
        through: The stream that was there before.
        line: Takes one line without its newline.
        secrets: Values to mask in both.
    """

    def __init__(self, through: TextIO, line: Callable[[str], None], secrets: Collection[str] = ()) -> None:
        super().__init__()
        self._through, self._line, self._secrets = through, line, secrets
        self._partial = ""
        self._lock = threading.Lock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream behind."""
        return self._through.encoding

    def fileno(self) -> int:
        """Of the stream behind: what a child process prints goes there."""
        return self._through.fileno()

    def isatty(self) -> bool:
        """Whether the stream behind is a terminal."""
        return self._through.isatty()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Writes through, and hands on each line that is now whole."""
        self._through.write(masked(text, self._secrets))
        with self._lock:
            *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            # A progress bar rewrites its line; what it showed last is what counts.
            self._line(masked(line.rstrip("\r").rpartition("\r")[2], self._secrets))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream behind."""
        self._through.flush()
