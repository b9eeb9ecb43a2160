"""The other side of a terminal."""

from __future__ import annotations

import os


def read_until(fd: int, words: str) -> str:
    """Reads what a terminal is sent until these words have come, or all of it if they never do."""
    data = b""
    while not words or words.encode() not in data:
        try:
            more = os.read(fd, 65536)
        except OSError:  # all who wrote to it are gone
            break
        if not more:
            break
        data += more
    return data.decode()


def read_all(fd: int) -> str:
    """Reads all that a terminal is sent, and closes it."""
    try:
        return read_until(fd, "")
    finally:
        os.close(fd)
