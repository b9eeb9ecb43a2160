"""``list``, ``show``, ``logs``, ``stop`` and ``results``: runs, out of the store alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlcluster.cli.output import (
    clean,
    number,
    output_option,
    print_json,
    print_rows,
    say,
    seconds,
    storage_option,
    table,
    text,
    when,
)  # fmt: skip
from dlcluster.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from dlcluster.api import Run
    from dlcluster.store.read import RunView

_run_argument = click.argument("run", metavar="RUN")


def find_run(ref: str, storage: str | None) -> Run:
    """Finds a run by id, unambiguous prefix, or ``latest``."""
    from dlcluster import api
    from dlcluster.store.read import resolve

    store = api.open(storage)
    return api.Run(resolve(store.objects, ref), store.objects)


def summary_row(view: RunView) -> dict[str, Any]:
    """A run as one row of ``list``."""
    run = view.run
    epochs = run.get("num_epochs")
    if view.progress is not None and not view.sealed:
        epochs = view.progress.epoch
    return {
        "run_id": view.run_id,
        "state": view.state,
        "reason": view.reason,
        "kind": run.get("kind"),
        "num_epochs": epochs,
        "metric": run.get("metric"),
        "best_value": run.get("best_value"),
        "submitted_at": run.get("submitted_at"),
        "duration_seconds": run.get("duration_seconds"),
        "submitted_by": run.get("submitted_by"),
        "partial": view.partial,
    }


@click.command("list")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many of the newest."
)
@storage_option
@output_option
def list_runs(limit: int, storage: str | None, output: str) -> None:
    """List the newest runs of a store; the cluster need not be up.

    \b
    dlcluster list
    dlcluster list --storage s3://bucket/results -o json
    """
    from dlcluster import api

    rows = [summary_row(view) for view in api.open(storage).runs(limit)]
    columns = {
        "run_id": text, "state": text, "num_epochs": text, "best_value": number, "submitted_at": when,
        "duration_seconds": seconds, "reason": text,
    }  # fmt: skip
    print_rows(rows, columns, output, empty="no runs yet; try: dlcluster submit jobs/lstm.yaml")


@click.command()
@_run_argument
@storage_option
@output_option
def show(run: str, storage: str | None, output: str) -> None:
    """Show one run: its state, its attempts and its job.

    \b
    dlcluster show latest
    dlcluster show 20261121-0930 -o json
    """
    from dlcluster.results.summary import attempt_rows

    found = find_run(run, storage)
    view = found.view
    attempts = attempt_rows(found.objects, found.run_id)
    document = {
        **view.run,
        **summary_row(view),
        "attempts": attempts,
        "job": view.fence.job if view.fence else None,
    }
    if output == "json":
        print_json(document)
        return
    if output == "csv":
        print_rows([summary_row(view)], dict.fromkeys(summary_row(view), text), output)
        return
    row = summary_row(view)
    click.echo(f"{view.run_id}  {view.state}{'  (partial: not sealed yet)' if view.partial else ''}")
    shown = {
        "reason": view.reason,
        "submitted": f"{when(row['submitted_at'])} by {row['submitted_by']}",
        "took": seconds(row["duration_seconds"]),
        "epochs": _epochs(view, row),
        "best": f"{row['metric']} {number(row['best_value'])}" if row["best_value"] is not None else None,
        "dashboard": view.fence.address if view.fence else None,
        "store": found.objects.uri,
    }
    for key, value in shown.items():
        if value:
            click.echo(f"  {key:<10} {clean(str(value))}")
    if attempts:
        click.echo()
        header = ["attempt", "from epoch", "state", "cause", "took", "where"]
        cells = [
            [
                f"{a['fence']}.{a['attempt']}", text(a["start_epoch"]), text(a["state"]), text(a["cause"]),
                seconds(a["duration_seconds"]), f"{text(a['host'])} {text(a['device'])}".strip(),
            ]
            for a in attempts
        ]  # fmt: skip
        click.echo(table(cells, header))
    click.echo()
    say(
        f"the job file: dlcluster show {view.run_id} -o json; how well it did: dlcluster results {view.run_id}"
    )


def _epochs(view: RunView, row: dict[str, Any]) -> str | None:
    planned = (view.fence.job.get("training") or {}).get("epochs") if view.fence else None
    return f"{row['num_epochs'] or 0} of {planned}" if planned else None


@click.command()
@_run_argument
@click.option(
    "-f", "--follow", "following", is_flag=True, help="Go on until the run ends, and end with its exit code."
)
@storage_option
@click.pass_context
def logs(context: click.Context, run: str, following: bool, storage: str | None) -> None:
    """Print what a run logged; with -f as it comes.

    \b
    dlcluster logs latest
    dlcluster logs latest -f
    """
    found = find_run(run, storage)
    if not following:
        from dlcluster.store.read import read_logs

        for line in read_logs(found.objects, found.run_id)[0]:
            click.echo(clean(line))
        return
    view = None
    try:
        for update in found.follow(logs=True):
            if update.line is not None:
                click.echo(clean(update.line))
            view = update.view or view
    except KeyboardInterrupt:
        say(f"\nthe run goes on; come back with: dlcluster logs {found.run_id} -f")
        context.exit(ExitCode.INTERRUPTED)
    if view is not None:
        say(f"{view.state}{f': {view.reason}' if view.reason else ''}")
        context.exit(view.exit_code or ExitCode.SUCCEEDED)


@click.command()
@_run_argument
@click.option("--reason", default="", help="Why; kept with the run.")
@storage_option
@click.pass_context
def stop(context: click.Context, run: str, reason: str, storage: str | None) -> None:
    """Stop a run. It ends sealed, as STOPPED, with a checkpoint and all its rows.

    \b
    dlcluster stop latest
    dlcluster stop latest --reason "wrong data"
    """
    found = find_run(run, storage)
    before = found.view
    if before.sealed:
        say(f"{before.run_id} has ended already: {before.state}")
        return
    view = found.stop(reason, say=say)
    say(f"{view.run_id} {view.state}{f': {view.reason}' if view.reason else ''}")
    if not view.sealed:
        context.exit(ExitCode.FAILED)


@click.command()
@_run_argument
@click.option("--epochs", is_flag=True, help="Every epoch instead of the outcome.")
@storage_option
@output_option
def results(run: str, epochs: bool, storage: str | None, output: str) -> None:
    """Print how well a run did, beside what anybody could have predicted.

    \b
    dlcluster results latest
    dlcluster results latest --epochs -o csv
    dlcluster results latest -o json
    """
    from dlcluster.cli.follow import print_results
    from dlcluster.results.summary import epoch_rows

    found = find_run(run, storage)
    if not epochs:
        print_results(found.objects, found.view, output)
        return
    rows = epoch_rows(found.objects, found.run_id)
    flat = [{**row, **(row.pop("metrics") or {})} for row in rows] if output != "json" else rows
    columns = {
        "epoch": text, "step": text, "train_loss": number, "validation_loss": number, "learning_rate": number,
        "epoch_seconds": seconds, "samples_per_second": number, "attempt": text,
    }  # fmt: skip
    if output == "csv" and not flat:
        raise UsageError(f"{found.run_id} has no epochs yet")
    print_rows(flat, columns, output, empty="no epochs yet")
