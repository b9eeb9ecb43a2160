"""Text for people: how values are shown, columns laid out and states coloured."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import click

# Control characters steer a terminal; the others turn its writing around or break its lines.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_GAP = "  "
_INDENT = "    "
_BESIDE = 30  # fewer cells than this are too narrow for a column of words
_STYLES: dict[str, dict[str, Any]] = {
    "SUCCEEDED": {"fg": "green"},
    "FAILED": {"fg": "red"},
    "STOPPED": {"fg": "yellow"},
    "RUNNING": {"fg": "cyan"},
    "PENDING": {"dim": True},
}


def clean(text: str) -> str:
    """Takes control characters out of text that a run wrote, so that it cannot steer a terminal."""
    return _CONTROL.sub("", text)


def words(text: str) -> str:
    """Makes one line of text that may have several."""
    return " ".join(clean(text).split())


def text(value: Any) -> str:
    """Shows any value; nothing for None."""
    return "" if value is None else str(value)


def number(value: Any) -> str:
    """Shows a measurement with five digits."""
    return "" if value is None else f"{value:.5g}"


def count(value: Any) -> str:
    """Shows a number of things: ``107,005``."""
    return "" if value is None else f"{value:,.0f}"


def seconds(value: Any) -> str:
    """Shows a duration: ``26ms``, ``8.2s``, ``3m12s``, ``2h05m``, ``3d04h``."""
    if value is None:
        return ""
    if value < 0.95:
        return f"{value * 1000:.0f}ms"
    if value < 59.95:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


def when(value: datetime | None) -> str:
    """Shows a time in the reader's own time zone."""
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M")


def since(value: datetime | None, now: datetime | None = None) -> str:
    """Shows how long ago something was, or its day when that was longer ago than two days."""
    if value is None:
        return ""
    gone = int(((now or datetime.now(UTC)) - value).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if gone >= 2 * 86400:
            return value.astimezone().strftime("%Y-%m-%d")
        if gone >= size:
            return f"{gone // size}{unit} ago"
    return f"{max(gone, 0)}s ago"


def coloured(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose owner wants colours (see no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def state(name: str) -> str:
    """A run's state on stdout, in its colour where there are colours."""
    return click.style(name, **_STYLES.get(name, {})) if coloured(sys.stdout) else name


def width() -> int | None:
    """Cells in a line of stdout; None in a pipe, where lines may be as long as they like."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(rows: Sequence[Sequence[str]], header: Sequence[str], right: Collection[str] = ()) -> str:
    """Lays out text in columns.

    In a pipe each row is one line. On a terminal that is too narrow the last column, which has the longest words,
    is folded; where it would be a thin strip, it is put below its row.

    Args:
        rows: Cells.
        header: Names of the columns.
        right: Which of them are numbers.
    """
    cells = [[words(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    room = width()
    left = None if room is None else room - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1)
    below = left is not None and left < min(widths[-1], _BESIDE)
    out = [_style(_line(header[:-1] if below else header, header, widths, right), bold=True)]
    for line in cells:
        if room is None or left is None or len(line[-1]) <= left:
            out.append(_line(line, header, widths, right))
        elif below:
            out.append(_line(line[:-1], header, widths, right))
            out += textwrap.wrap(line[-1], room, initial_indent=_INDENT, subsequent_indent=_INDENT)
        else:
            first, *rest = textwrap.wrap(line[-1], left)
            out.append(_line([*line[:-1], first], header, widths, right))
            out += [" " * (room - left) + part for part in rest]
    return "\n".join(_with_states(line) for line in out)


def _line(cells: Sequence[str], header: Sequence[str], widths: Sequence[int], right: Collection[str]) -> str:
    # Fewer cells than columns are the first ones.
    parts = zip(cells, header, widths, strict=False)
    aligned = (cell.rjust(size) if name in right else cell.ljust(size) for cell, name, size in parts)
    return _GAP.join(aligned).rstrip()


def _with_states(line: str) -> str:
    if not coloured(sys.stdout):
        return line
    return re.sub(rf"(?<=  )({'|'.join(_STYLES)})(?=  |$)", lambda found: state(found[0]), line, count=1)


def _style(line: str, *, bold: bool) -> str:
    return click.style(line, bold=bold) if coloured(sys.stdout) else line
