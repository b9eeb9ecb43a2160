"""Following a run on a terminal or in a pipe, and what is said at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from dlcluster.cli.output import clean, number, print_json, print_rows, say, seconds, table, text
from dlcluster.errors import ExitCode

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from dlcluster.api import Run
    from dlcluster.results.summary import Comparison
    from dlcluster.store.objects import Objects
    from dlcluster.store.read import RunView


def follow_epochs(run: Run, *, quiet: bool = False) -> RunView:
    """Shows each epoch as it lands, until the run has ended.

    On a terminal the last line is a progress bar; in a pipe there are plain lines only. All of it goes to
    stderr.

    Args:
        run: What to follow.
        quiet: Show nothing; only wait.
    """
    view = run.view
    job = view.fence.job if view.fence else {}
    planned = int((job.get("training") or {}).get("epochs") or 0)
    if not quiet:
        say(
            f"run {run.run_id}"
            + (f"  dashboard {view.fence.address}" if view.fence and view.fence.address else "")
        )
    with _bar(quiet, planned) as shown:
        try:
            for update in run.follow():
                if update.view is not None:
                    view = update.view
                    shown.state(view)
                if update.epoch is not None:
                    shown.epoch(update.epoch)
        except KeyboardInterrupt:
            shown.close()
            say(f"\nthe run goes on; come back with: dlcluster logs {run.run_id} -f")
            say(f"or end it with: dlcluster stop {run.run_id}")
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
    return view


def epoch_cells(row: dict[str, Any], planned: int) -> list[str]:
    """One epoch, in the columns of `_HEADER`."""
    left = (planned - row["epoch"]) * (row["epoch_seconds"] or 0.0)
    return [
        f"{row['epoch']}/{planned}", number(row["train_loss"]), number(row["validation_loss"]),
        f"{row['samples_per_second']:,.0f}", seconds(left) if left else "",
    ]  # fmt: skip


_HEADER = ["epoch", "train_loss", "validation_loss", "samples/s", "ETA"]
_WIDTHS = [9, 12, 16, 12, 8]


def _line(cells: list[str]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


class _Shown:
    """What has been shown so far."""

    def __init__(self, quiet: bool, planned: int, bar: Bar | None, task: TaskID | None) -> None:
        self.quiet, self.planned, self.bar, self.task = quiet, planned, bar, task
        self.header, self.attempt, self.last_state = False, 1, ""

    def line(self, words: str) -> None:
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.console.print(words, highlight=False, markup=False)
        else:
            say(words)

    def state(self, view: RunView) -> None:
        words = f"{view.state.lower()}{f': {clean(view.reason)}' if view.reason else ''}"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=words[:60])
        elif view.state != self.last_state and view.exit_code is None:
            self.line(words)
        self.last_state = view.state

    def epoch(self, row: dict[str, Any]) -> None:
        if not self.header:
            self.header = True
            self.line(_line(_HEADER))
        if row["attempt"] != self.attempt:
            self.attempt = row["attempt"]
            self.line(f"attempt {self.attempt} goes on with epoch {row['epoch']}")
        self.line(_line(epoch_cells(row, self.planned)))
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=row["epoch"])

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


@contextmanager
def _bar(quiet: bool, planned: int) -> Iterator[_Shown]:
    if quiet or not sys.stderr.isatty():
        yield _Shown(quiet, planned, None, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Shown(quiet, planned, bar, bar.add_task("starting", total=planned or None))


def print_results(objects: Objects, view: RunView, output: str) -> None:
    """Prints the outcome of a run: what was measured, where it lies, and what to do next."""
    from dlcluster.results.summary import comparisons, results

    document = results(objects, view)
    if output == "json":
        print_json(document)
        return
    if output == "csv":
        rows = [{**row, **(row.pop("metrics") or {})} for row in document["trials"]]
        print_rows(rows, dict.fromkeys(rows[0] if rows else {}, text), output)
        return
    reason = f": {clean(view.reason)}" if view.reason else ""
    click.echo(f"{view.run_id}  {view.state}{reason}{'  (partial: not sealed yet)' if view.partial else ''}")
    for trial in document["trials"]:
        found = comparisons(trial)
        if found:
            click.echo()
            click.echo(_compared(found, _baseline_name(view)))
    click.echo()
    for name, paths in document["files"].items():
        for path in paths:
            click.echo(f"{name:<10} {path}")
    if view.fence is not None and view.fence.address:
        click.echo(f"{'dashboard':<10} {view.fence.address}/#/jobs/{view.fence.submission_id}")
    where = f" --storage {objects.uri}"
    say(f"\nnext: dlcluster show {view.run_id}{where}\n      dlcluster results {view.run_id} --epochs{where}")
    if view.exit_code:
        say(f"      dlcluster logs {view.run_id}{where}")


def _baseline_name(view: RunView) -> str:
    data = (view.fence.job if view.fence else {}).get("data", {})
    forecast = data.get("task") in (None, "forecast")
    return "persistence" if forecast else "mean of train"


def _compared(found: list[Comparison], baseline: str) -> str:
    with_baseline = any(item.baseline is not None for item in found)
    header = ["test error", "model", *([baseline, "model / it"] if with_baseline else [])]
    rows = []
    for item in found:
        row = [item.metric.removeprefix("test_"), number(item.value)]
        if with_baseline:
            ratio = item.value / item.baseline if item.baseline else None
            row += [number(item.baseline), "" if ratio is None else f"{ratio:.2f}"]
        rows.append(row)
    return table(rows, header)
