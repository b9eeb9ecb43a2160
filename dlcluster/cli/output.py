"""How commands print: tables for people, JSON and CSV for scripts; data on stdout, talk on stderr."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

storage_option = click.option(
    "--storage",
    metavar="URI",
    envvar="DLCLUSTER_STORAGE",
    help="The store: a folder or s3://bucket/prefix.  [default: DLCLUSTER_STORAGE or ./results]",
)
address_option = click.option(
    "--address",
    metavar="URL",
    help="The cluster's dashboard.  [default: DLCLUSTER_ADDRESS or one on this machine]",
)
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", help="How to print."
)


def say(line: str) -> None:
    """Talks to a person: a line on stderr."""
    click.echo(line, err=True)


def clean(text: str) -> str:
    """Takes control characters out of text that a run wrote, so that it cannot steer a terminal."""
    return _CONTROL.sub("", text)


def plain(value: Any) -> Any:
    """Makes a value fit for JSON: times in ISO 8601, NaN and infinity as null."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def print_json(value: Any) -> None:
    """Prints one JSON document on stdout."""
    click.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Callable[[Any], str]],
    output: str,
    *,
    empty: str = "nothing here yet",
) -> None:
    """Prints rows as the user asked.

    Args:
        rows: What to print; JSON gets all of it.
        columns: For tables, which columns and how each is shown.
        output: ``table``, ``json`` or ``csv``.
        empty: What a table says when there are no rows.
    """
    if output == "json":
        print_json(list(rows))
    elif output == "csv":
        click.echo(_csv(rows, list(columns)), nl=False)
    elif not rows:
        say(empty)
    else:
        click.echo(
            table([[show(row.get(name)) for name, show in columns.items()] for row in rows], list(columns))
        )


def _csv(rows: Sequence[Mapping[str, Any]], columns: list[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = columns + sorted({key for row in rows for key in row} - set(columns))
    writer.writerow(names)
    for row in rows:
        values = (plain(row.get(name)) for name in names)
        writer.writerow([json.dumps(value) if isinstance(value, dict | list) else value for value in values])
    return out.getvalue()


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Lays out text in columns: with rules and colours on a terminal, plainly in a pipe."""
    if not sys.stdout.isatty():
        lines = [list(header), *[[clean(cell) for cell in row] for row in rows]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in header:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(clean(cell), style=_STATE_STYLES.get(cell, "")) for cell in row))
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=shutil.get_terminal_size().columns).print(grid)
    return out.getvalue().rstrip("\n")


_STATE_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "STOPPED": "yellow",
    "RUNNING": "cyan",
    "PENDING": "dim",
}


def text(value: Any) -> str:
    """Shows any value; nothing for None."""
    return "" if value is None else str(value)


def number(value: Any) -> str:
    """Shows a measurement with five digits."""
    return "" if value is None else f"{value:.5g}"


def seconds(value: Any) -> str:
    """Shows a duration: ``8.2s``, ``3m12s``, ``2h05m``."""
    if value is None:
        return ""
    if value < 60:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def when(value: Any) -> str:
    """Shows a time in the reader's own time zone."""
    if value is None:
        return ""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")  # type: ignore[no-any-return]
