"""``models`` and ``datasets``: what a job file can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from dlcluster.cli.group import Command
from dlcluster.cli.output import output_option, print_csv, print_json, print_rows
from dlcluster.cli.text import count, table
from dlcluster.errors import Fault, JobFileError, UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dlcluster.models.catalog import ModelEntry, Shapes
    from dlcluster.models.summary import Summary

_LAYER_FIELDS = ("name", "type", "output_shape", "num_parameters")


def _sizes(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Reads ``1,28,28``."""
    if value is None:
        return None
    parts = value.replace(" ", "").split(",")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise click.BadParameter(f"{value!r} is no shape such as 1,28,28", context, option)
    return tuple(int(part) for part in parts)


@click.command(
    cls=Command,
    examples=[
        "dlcluster models",
        "dlcluster models lstm --set hidden_size=100",
        "dlcluster models cnn --input-shape 3,150,150 --output-shape 2",
        "dlcluster models transformer --input-shape 64 --output-shape 64,65 --num-tokens 65",
        "dlcluster models jobs.own:Residual --input-shape 2 --output-shape 1",
        "dlcluster models -o json",
    ],
)
@click.argument("name", required=False)
@click.option("--input-shape", callback=_sizes, metavar="SIZES", help="Of one sample of x, such as 1,28,28 or 52,1.")
@click.option("--output-shape", callback=_sizes, metavar="SIZES", help="Of one prediction, such as 10 or 26,1.")
@click.option("--num-tokens", type=click.IntRange(min=1), metavar="N", help="x is token ids below N.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A parameter of the model, such as dropout=0.1."
)
@output_option
def models(
    name: str | None,
    *,
    input_shape: tuple[int, ...] | None,
    output_shape: tuple[int, ...] | None,
    num_tokens: int | None,
    overrides: tuple[str, ...],
    output: str,
) -> None:
    """List the models a job file can name, or show one.

    Of one: its parameters, and its layers with their sizes for data of the shapes given, by default some that are
    typical of it. Your own is named as package.module:Class.
    """
    if name is not None:
        _show_model(name, input_shape, output_shape, num_tokens, overrides, output)
    elif input_shape or output_shape or num_tokens or overrides:
        raise UsageError(
            "shapes and --set are for one model: name it, as in dlcluster models cnn", hint="dlcluster models"
        )
    else:
        _list_models(output)


def _list_models(output: str) -> None:
    from dlcluster.models.catalog import MODELS

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "params": {name: field.default for name, field in entry.params.model_fields.items()},
            "reads": list(entry.reads),
            "summary": entry.summary,
            "source": entry.source,
        }
        for entry in MODELS.values()
    ]
    columns = {
        "name": lambda row: row["name"],
        "summary": lambda row: row["summary"],
        "params": lambda row: ", ".join(f"{name}={value}" for name, value in row["params"].items()),
    }
    print_rows(rows, columns, output, fields=["name", "params", "reads", "summary", "source"], empty="no models")


def _show_model(
    name: str,
    input_shape: tuple[int, ...] | None,
    output_shape: tuple[int, ...] | None,
    num_tokens: int | None,
    overrides: Sequence[str],
    output: str,
) -> None:
    from dlcluster.models.catalog import MODELS
    from dlcluster.models.named import is_own, near

    if not is_own(name) and name not in MODELS:
        raise UsageError(f"no model {name!r}; {near(name, MODELS)}", hint="dlcluster models")
    entry = MODELS.get(name)
    params = _given_params(entry, overrides)
    shapes = _shapes(entry, input_shape, output_shape, num_tokens)
    summary = _summary(name, params, shapes)
    layers = [{field: getattr(layer, field) for field in _LAYER_FIELDS} for layer in summary.layers]
    if output == "csv":
        print_csv(layers, _LAYER_FIELDS)
        return
    known = [] if entry is None else _parameters(entry.params)
    if output == "json":
        about = {} if entry is None else {"summary": entry.summary, "source": entry.source, "reads": entry.reads}
        print_json(
            {
                "name": name,
                **about,
                "params": known,
                "set": params,
                "input_shape": shapes.input_shape,
                "output_shape": shapes.output_shape,
                "num_tokens": shapes.num_tokens,
                "layers": layers,
                "num_parameters": summary.num_parameters,
                "num_trainable": summary.num_trainable,
            }
        )
        return
    if entry is not None:
        _print_entry(entry, known)
    _print_layers(summary, shapes, params)


def _print_entry(entry: ModelEntry, known: Sequence[Mapping[str, Any]]) -> None:
    from dlcluster.models.catalog import READS

    reads = ", ".join(READS[kind] for kind in entry.reads)
    for name, words in ((entry.name, entry.summary), ("  reads", reads), ("  source", entry.source)):
        click.echo(f"{name:<{max(len(entry.name), 8)}}  {words}")
    if known:
        rows = [[row["name"], _written(row["default"]), row["values"], row["description"]] for row in known]
        click.echo(f"\n{table(rows, ['parameter', 'default', 'values', 'description'])}")
    click.echo()


def _print_layers(summary: Summary, shapes: Shapes, params: Mapping[str, Any]) -> None:
    from dlcluster.models.catalog import reads_of

    tokens = "" if shapes.num_tokens is None else f" of {shapes.num_tokens:,} tokens"
    told = f", with {', '.join(f'{key}={_written(value)}' for key, value in params.items())}" if params else ""
    click.echo(f"for {reads_of(shapes)} {shapes.input_shape}{tokens} to {shapes.output_shape}{told}:\n")
    rows = [
        [
            layer.name or "(the model itself)",
            layer.type,
            "" if layer.output_shape is None else str(layer.output_shape),
            count(layer.num_parameters),
        ]
        for layer in summary.layers
    ]
    rows.append(["total", "", "", count(summary.num_parameters)])
    if summary.num_trainable != summary.num_parameters:
        rows.append(["trainable", "", "", count(summary.num_trainable)])
    click.echo(table(rows, ["layer", "type", "output", "parameters"], right=["parameters"]))


def _shapes(
    entry: ModelEntry | None,
    input_shape: tuple[int, ...] | None,
    output_shape: tuple[int, ...] | None,
    num_tokens: int | None,
) -> Shapes:
    """What the data would ask for; what the user left out is typical of the model."""
    from dlcluster.models.catalog import Shapes

    if entry is None:
        if input_shape is None or output_shape is None:
            raise UsageError(
                "a model of your own needs --input-shape and --output-shape", hint="dlcluster models --help"
            )
    else:
        if num_tokens is None:
            num_tokens = entry.typical.num_tokens
        if input_shape is None:
            input_shape = entry.typical.input_shape if num_tokens == entry.typical.num_tokens else (64,)
        if output_shape is None:
            output_shape = _typical_output(entry, input_shape)
    num_classes = output_shape[0] if len(output_shape) == 1 else None
    return Shapes(input_shape, output_shape, num_classes, num_tokens)


def _typical_output(entry: ModelEntry, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The entry's own for samples like its own; else a horizon of all channels for a series, or ten classes."""
    if entry.generates:
        return input_shape
    if len(input_shape) == 2:
        return (26, input_shape[1])
    return entry.typical.output_shape if len(input_shape) == len(entry.typical.input_shape) else (10,)


def _summary(name: str, params: Mapping[str, Any], shapes: Shapes) -> Summary:
    import sys
    from pathlib import Path

    from dlcluster.models.named import is_own
    from dlcluster.models.summary import summarise

    if is_own(name):
        sys.path.insert(0, str(Path.cwd()))
    return summarise(name, params, shapes)


def _given_params(entry: ModelEntry | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Reads ``--set``; every fault at once, in the words of a job file's."""
    from dlcluster.spec.document import BrokenError
    from dlcluster.spec.yamlfile import read_yaml
    from dlcluster.training.params import params_problems

    params: dict[str, Any] = {}
    faults: list[Fault] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip().removeprefix("model.params.")  # as it is written for submit
        if not key or not equals:
            message = "must have the form key=value, such as --set hidden_size=100"
            faults.append(Fault(f"--set {override}", "", message))
            continue
        try:
            read = read_yaml(text, "")
        except BrokenError as error:
            faults.append(Fault(f"--set {override}", key, error.message))
            continue
        faults += [Fault(f"--set {override}", key, problem.message) for problem in read.problems]
        params[key] = read.value
    if entry is not None and not faults:
        faults = [
            Fault("--set", path, message) for path, message in params_problems("model.params", entry.params, params)
        ]
    if faults:
        raise JobFileError(faults)
    return params


def _parameters(params: type[BaseModel]) -> list[dict[str, Any]]:
    """A row for each parameter."""
    properties = params.model_json_schema().get("properties", {})
    return [
        {
            "name": name,
            "default": schema.get("default"),
            "values": _values(schema),
            "description": schema.get("description", ""),
        }
        for name, schema in properties.items()
    ]


def _values(schema: Mapping[str, Any]) -> str:
    """What a parameter may be, from its JSON Schema."""
    if "enum" in schema:
        return " | ".join(schema["enum"])
    if schema["type"] == "boolean":
        return "true | false"
    if schema["type"] == "array":
        return f"list of {_values(schema['items']).replace('number', 'numbers')}"
    words = {"integer": "whole number", "number": "number"}[schema["type"]]
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    bounds = [f"{limit} {schema[key]:g}" for key, limit in limits.items() if key in schema]
    return " ".join([words, *bounds])


def _written(value: Any) -> str:
    """A value as a job file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


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
