"""Following a run, on a terminal or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dlcluster.cli.output import command_for, print_json, say, until_closed
from dlcluster.cli.text import count, number, seconds, words
from dlcluster.errors import ExitCode

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from dlcluster.api import Run
    from dlcluster.store.read import RunView


def follow_epochs(run: Run, *, quiet: bool = False) -> RunView:
    """Shows each epoch as it lands, until the run has ended.

    On a terminal the last line is a progress bar; in a pipe there are plain lines only. All of it goes to
    stderr.

    Args:
        run: What to follow.
        quiet: Show nothing; only wait.
    """
    from dlcluster.results.summary import planned_epochs

    view = run.view
    planned = planned_epochs(view) or 0
    if not quiet:
        where = f"  dashboard {view.fence.address}" if view.fence and view.fence.address else ""
        say(f"run {run.run_id}{where}")
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
            left_going(run)
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
    return view


def finish(context: click.Context, run: Run, *, detach: bool, output: str, ended: bool = False) -> NoReturn:
    """Follows a run that is on its way to its end, prints what came of it, and exits with its exit code.

    Args:
        context: Of the command.
        run: Which.
        detach: Print its id instead, and leave it going.
        output: ``table``, ``json`` or ``csv``.
        ended: It has ended already.
    """
    from dlcluster.cli.predict import follow_prediction, predicts
    from dlcluster.cli.scores import print_results

    if detach:
        if output == "json":
            print_json({"run_id": run.run_id, "storage": run.objects.uri})
        else:
            click.echo(run.run_id)
        say(f"sent; follow it with: {command_for(run.objects, 'logs', run.run_id, '-f')}")
        context.exit(ExitCode.SUCCEEDED)
    view = run.view
    if not ended:
        follow = follow_prediction if predicts(view) else follow_epochs
        view = follow(run, quiet=output != "table")
    with until_closed():
        print_results(run.objects, view, output)
    context.exit(view.exit_code if view.exit_code is not None else ExitCode.FAILED)


def left_going(run: Run) -> None:
    """Says that a run goes on without its follower, and how to come back to it."""
    say(f"\nthe run goes on; come back with: {command_for(run.objects, 'logs', run.run_id, '-f')}")
    say(f"or end it with: {command_for(run.objects, 'stop', run.run_id)}")


def epoch_cells(row: dict[str, Any], planned: int) -> list[str]:
    """One epoch, in the columns of `_HEADER`."""
    left = (planned - row["epoch"]) * (row["epoch_seconds"] or 0.0)
    return [
        f"{row['epoch']}/{planned}", number(row["train_loss"]), number(row["validation_loss"]),
        count(row["samples_per_second"]), seconds(left) if left else "",
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

    def line(self, line: str) -> None:
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.console.print(line, highlight=False, markup=False)
        else:
            say(line)

    def state(self, view: RunView) -> None:
        shown = f"{view.state.lower()}{f': {words(view.reason)}' if view.reason else ''}"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=shown[:60])
        elif view.state != self.last_state and view.exit_code is None:
            self.line(shown)
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
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Shown(quiet, planned, bar, bar.add_task("starting", total=planned or None))
