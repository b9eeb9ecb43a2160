"""``models`` and ``datasets``: what a job file can name."""

from __future__ import annotations

from typing import Any

import click

from dlcluster.cli.output import output_option, print_rows, text


def _defaults(params: Any) -> str:
    fields = params.model_fields.items()
    return ", ".join(name if field.is_required() else f"{name}={field.default}" for name, field in fields)


@click.command()
@output_option
def models(output: str) -> None:
    """List the models a job file can name, with their parameters.

    Your own is named as package.module:Class.

    \b
    dlcluster models
    dlcluster models -o json
    """
    from dlcluster.models.catalog import MODELS

    rows = [
        {
            "name": entry.name,
            "params": _defaults(entry.params),
            "summary": entry.summary,
            "source": entry.source,
        }
        for entry in MODELS.values()
    ]
    print_rows(rows, {"name": text, "params": text, "summary": text}, output)


@click.command()
@output_option
def datasets(output: str) -> None:
    """List the data sets a job file can name.

    Your own is a file (data.path) or a function, named as package.module:function.

    \b
    dlcluster datasets
    dlcluster datasets -o csv
    """
    from dlcluster.data.catalog import DATASETS

    rows = [
        {"name": entry.name, "task": entry.task, "summary": entry.summary, "source": entry.source}
        for entry in DATASETS.values()
    ]
    print_rows(rows, {"name": text, "task": text, "summary": text, "source": text}, output)
