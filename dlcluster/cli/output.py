"""How commands print: tables for people, JSON and CSV for scripts; data on stdout, talk on stderr."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

from dlcluster.cli.text import table

if TYPE_CHECKING:
    from dlcluster.store.objects import Objects

storage_option = click.option(
    "--storage",
    metavar="URI",
    help="The store: a folder or s3://bucket/prefix.  [default: DLCLUSTER_STORAGE or ./results]",
)
address_option = click.option(
    "--address",
    metavar="URL",
    help="The cluster's dashboard.  [default: DLCLUSTER_ADDRESS or one on this machine]",
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print.",
)


def say(line: str) -> None:
    """Talks to a person: a line on stderr. When nobody listens any more, work goes on without a word."""
    try:
        click.echo(line, err=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Lets what is still written to a broken stream vanish, at the interpreter's exit too."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def until_closed() -> Iterator[None]:
    """Ends a block quietly when the reader of stdout (head, less) has seen enough."""
    try:
        yield
    except BrokenPipeError:
        discard(sys.stdout)


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


def print_csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Prints CSV on stdout: all columns of all rows, those named first; a header when there are no rows."""
    known = dict.fromkeys(names) | dict.fromkeys(key for row in rows for key in row)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(known)
    for row in rows:
        values = (plain(row.get(name)) for name in known)
        writer.writerow([json.dumps(value) if isinstance(value, dict | list) else value for value in values])
    click.echo(out.getvalue(), nl=False)


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Callable[[Mapping[str, Any]], str]],
    output: str,
    *,
    fields: Sequence[str],
    right: Collection[str] = (),
    empty: str,
) -> None:
    """Prints rows as the user asked.

    Args:
        rows: What to print; JSON and CSV get all of it.
        columns: For tables: the header, and what of a row is shown below it.
        output: ``table``, ``json`` or ``csv``.
        fields: For CSV: the columns that are there whatever the rows have.
        right: Which columns of the table are numbers.
        empty: What is said instead of a table without rows.
    """
    if output == "json":
        print_json(rows)
    elif output == "csv":
        print_csv(rows, fields)
    elif not rows:
        say(empty)
    else:
        click.echo(table([[show(row) for show in columns.values()] for row in rows], list(columns), right))


def command_for(objects: Objects, *arguments: str) -> str:
    """A command on this store to be typed next; names the store only where it is not the default."""
    from dlcluster.errors import DlclusterError

    line = ["dlcluster", *arguments]
    with suppress(DlclusterError):  # a default that is no store cannot be this one
        from dlcluster import api

        if api.open().objects.uri == objects.uri:
            return shlex.join(line)
    return shlex.join([*line, "--storage", objects.uri])
