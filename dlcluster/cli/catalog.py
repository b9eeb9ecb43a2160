"""``models`` and ``datasets``: what a job file can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlcluster.cli.group import Command
from dlcluster.cli.output import output_option, print_rows

if TYPE_CHECKING:
    from dlcluster.models.catalog import Params


@click.command(cls=Command, examples=["dlcluster models", "dlcluster models -o json"])
@output_option
def models(output: str) -> None:
    """List the models a job file can name.

    Each with its parameters and their defaults. Your own is named as package.module:Class.
    """
    from dlcluster.models.catalog import MODELS

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "params": _defaults(entry.params),
            "summary": entry.summary,
            "source": entry.source,
        }
        for entry in MODELS.values()
    ]
    columns = {
        "name": lambda row: row["name"],
        "params": lambda row: ", ".join(
            name if value is None else f"{name}={value}" for name, value in row["params"].items()
        ),
        "summary": lambda row: row["summary"],
    }
    print_rows(rows, columns, output, fields=["name", "params", "summary", "source"], empty="no models")


def _defaults(params: type[Params]) -> dict[str, Any]:
    """Parameters with their defaults; None for those that must be given."""
    fields = params.model_fields.items()
    return {name: None if field.is_required() else field.default for name, field in fields}


@click.command(cls=Command, examples=["dlcluster datasets", "dlcluster datasets -o csv"])
@output_option
def datasets(output: str) -> None:
    """List the data sets a job file can name.

    Your own is a file (data.path) or a function, named as package.module:function.
    """
    from dlcluster.data.catalog import DATASETS

    rows = [
        {"name": entry.name, "task": entry.task, "summary": entry.summary, "source": entry.source}
        for entry in DATASETS.values()
    ]
    columns = {
        "name": lambda row: row["name"],
        "task": lambda row: row["task"],
        "summary": lambda row: row["summary"],
    }
    print_rows(rows, columns, output, fields=["name", "task", "summary", "source"], empty="no data sets")
