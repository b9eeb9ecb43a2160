"""``results``: how well a run did, beside what anybody could have predicted; and every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from dlcluster.cli.group import Command
from dlcluster.cli.output import (
    command_for,
    output_option,
    print_csv,
    print_json,
    print_rows,
    say,
    storage_option,
)
from dlcluster.cli.runs import find_run, run_argument
from dlcluster.cli.text import clean, count, number, seconds, state, table, text, width

if TYPE_CHECKING:
    from dlcluster.results.summary import Comparison
    from dlcluster.store.objects import Objects
    from dlcluster.store.read import RunView

_METRIC_WIDTH = 10
_SCORES = frozenset({"accuracy", "auroc", "f1", "precision", "r2", "recall"})
"""Metrics of which more is better; a ratio to a baseline's means something for errors only."""


@click.command(
    cls=Command,
    examples=[
        "dlcluster results latest",
        "dlcluster results latest --epochs -o csv",
        "dlcluster results latest -o json",
    ],
)
@run_argument
@click.option("--epochs", is_flag=True, help="Every epoch instead of the outcome.")
@storage_option
@output_option
def results(run: str, epochs: bool, storage: str | None, output: str) -> None:
    """Print how well a run did, beside a baseline.

    The baseline is what anybody could have predicted without a model. Of a run under way: how well it has done so
    far. RUN is a run's id, the beginning of one, or latest.
    """
    found = find_run(run, storage)
    if epochs:
        _print_epochs(found.objects, found.run_id, output)
    else:
        print_results(found.objects, found.view, output)


def print_results(objects: Objects, view: RunView, output: str) -> None:
    """Prints the outcome of a run: what was measured, where it lies, and what to do next."""
    from dlcluster.cli.predict import predicts, print_prediction
    from dlcluster.results.summary import comparisons
    from dlcluster.results.summary import results as gather

    if predicts(view):
        print_prediction(objects, view, output)
        return
    document = gather(objects, view)
    if output == "json":
        print_json(document)
        return
    if output == "csv":
        from dlcluster.store.schema import COLUMNS

        kept = [name for name in COLUMNS["trials"] if name not in ("metrics", "baseline")]
        print_csv([_flat(row) for row in document["trials"]], kept)
        return
    reason = f": {clean(view.reason)}" if view.reason else ""
    click.echo(f"{view.run_id}  {state(view.state)}{reason}")
    for trial in document["trials"]:
        compared = comparisons(trial)
        if compared:
            baseline = trial["baseline_name"] or "baseline"
            click.echo(f"\n{_compared(compared, baseline)}")
    click.echo()
    for name, words in [("epochs", _trained(view, document["epochs"])), *_places(view, document)]:
        click.echo(f"{name:<17}{words}")
    _say_next(objects, view, document)


def _places(view: RunView, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where everything lies."""
    models = [("model", trial["model_uri"]) for trial in document["trials"] if trial["model_uri"]]
    files = [(f"{name}.parquet", path) for name, paths in document["files"].items() for path in paths]
    address = view.fence.address if view.fence is not None else None
    jobs = [("dashboard", f"{address}/#/jobs/{view.fence.submission_id}")] if view.fence and address else []
    return [*models, *files, *jobs]


def _trained(view: RunView, rows: Sequence[Mapping[str, Any]]) -> str:
    """How far it came, and how well it did there."""
    from dlcluster.results.summary import planned_epochs

    planned = planned_epochs(view)
    parts = [f"{len(rows)} of {planned}" if planned is not None else str(len(rows))]
    if rows:
        last = rows[-1]
        losses = [f"{name} {number(last[name])}" for name in ("train_loss", "validation_loss")]
        parts.append(f"the last with {', '.join(losses if last['validation_loss'] is not None else losses[:1])}")
    if view.run.get("best_value") is not None:
        parts.append(f"the best {view.run['metric']} was {number(view.run['best_value'])}")
    return "; ".join(parts)


def _say_next(objects: Objects, view: RunView, document: Mapping[str, Any]) -> None:
    arguments = [["show", view.run_id]]
    if document["epochs"]:
        arguments.append(["results", view.run_id, "--epochs"])
    if view.exit_code is None:
        arguments.insert(0, ["logs", view.run_id, "-f"])
    elif view.exit_code:
        arguments.insert(0, ["logs", view.run_id])
    lines = [command_for(objects, *line) for line in arguments]
    say("\nnext: " + "\n      ".join(lines))


def _compared(found: Sequence[Comparison], baseline: str) -> str:
    with_baseline = any(item.baseline is not None for item in found)
    header = ["test", "model", *([baseline, "model / it"] if with_baseline else [])]
    rows = []
    for item in found:
        metric = item.metric.removeprefix("test_")
        row = [metric, number(item.value)]
        if with_baseline:
            ratio = item.value / item.baseline if item.baseline and metric not in _SCORES else None
            row += [number(item.baseline), "" if ratio is None else f"{ratio:.2f}"]
        rows.append(row)
    return table(rows, header, right=header[1:])


def _print_epochs(objects: Objects, run_id: str, output: str) -> None:
    from dlcluster.results.summary import epoch_rows
    from dlcluster.store.schema import COLUMNS

    rows = epoch_rows(objects, run_id)
    if output == "json":
        print_json(rows)
        return
    if output == "csv":
        print_csv([_flat(row) for row in rows], [name for name in COLUMNS["epochs"] if name != "metrics"])
        return
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "epoch": lambda row: text(row["epoch"]),
        "step": lambda row: text(row["step"]),
        "train_loss": lambda row: number(row["train_loss"]),
        "validation_loss": lambda row: number(row["validation_loss"]),
        "learning_rate": lambda row: number(row["learning_rate"]),
        "took": lambda row: seconds(row["epoch_seconds"]),
        "samples/s": lambda row: count(row["samples_per_second"]),
    }
    if any(row["attempt"] != 1 for row in rows):
        columns["attempt"] = lambda row: text(row["attempt"])
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"] or {}))
    shown = _fitting(metrics, list(columns))
    columns |= {name: partial(_metric, name) for name in shown}
    print_rows(rows, columns, output, fields=(), right=list(columns), empty=f"{run_id} has no epochs yet")
    if len(shown) < len(metrics):
        say(f"not shown, as the terminal is too narrow: {', '.join(metrics[len(shown) :])}; see -o csv")


def _metric(name: str, row: Mapping[str, Any]) -> str:
    return number((row["metrics"] or {}).get(name))


def _fitting(metrics: Sequence[str], columns: Sequence[str]) -> Sequence[str]:
    """As many metrics as a terminal has room for beside the columns that are always there."""
    room = width()
    if room is None:
        return metrics
    room -= sum(len(name) + 2 for name in columns)
    shown = 0
    for name in metrics:
        room -= max(len(name), _METRIC_WIDTH) + 2
        if room < 0:
            break
        shown += 1
    return metrics[:shown]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose metrics are columns; the baseline's begin with ``baseline_``."""
    maps = ("metrics", "baseline")
    return (
        {name: value for name, value in row.items() if name not in maps}
        | (row.get("metrics") or {})
        | {f"baseline_{name}": value for name, value in (row.get("baseline") or {}).items()}
    )
