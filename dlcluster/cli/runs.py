"""``list``, ``show``, ``logs``, ``stop`` and ``resume``: runs, out of the store alone but for the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dlcluster.cli.group import Command
from dlcluster.cli.output import (
    address_option,
    command_for,
    output_option,
    print_csv,
    print_json,
    print_rows,
    say,
    storage_option,
)
from dlcluster.cli.text import clean, number, seconds, since, state, table, text, when, words
from dlcluster.errors import ExitCode

if TYPE_CHECKING:
    from dlcluster.api import Run
    from dlcluster.store.read import RunView

run_argument = click.argument("run", metavar="RUN")

_FIELDS = [
    "run_id", "state", "reason", "kind", "num_epochs", "metric", "best_value", "submitted_at", "duration_seconds",
    "submitted_by", "partial",
]  # fmt: skip


def find_run(ref: str, storage: str | None) -> Run:
    """Finds a run by id, unambiguous prefix, or ``latest``."""
    from dlcluster import api
    from dlcluster.store.read import resolve

    store = api.open(storage)
    return api.Run(resolve(store.objects, ref), store.objects)


def summary_row(view: RunView) -> dict[str, Any]:
    """A run as one row of ``list``."""
    from dlcluster.results.summary import done_epochs

    known = {
        **view.run,
        "run_id": view.run_id,
        "state": view.state,
        "reason": view.reason,
        "num_epochs": done_epochs(view),
        "partial": view.partial,
    }
    return {name: known.get(name) for name in _FIELDS}


@click.command("list", cls=Command, examples=["dlcluster list", "dlcluster list --storage s3://bucket/results -o json"])
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=100,
    show_default=True,
    help="How many of the newest.",
)
@storage_option
@output_option
def list_runs(limit: int, storage: str | None, output: str) -> None:
    """List the newest runs of a store.

    The cluster need not be up.
    """
    from dlcluster import api

    store = api.open(storage)
    views = {view.run_id: view for view in store.runs(limit)}
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "run_id": lambda row: row["run_id"],
        "state": lambda row: row["state"],
        "epochs": lambda row: _epochs(views[row["run_id"]], "/"),
        "best": lambda row: number(row["best_value"]),
        "submitted": lambda row: since(row["submitted_at"]),
        "took": lambda row: seconds(_took(views[row["run_id"]])),
        "reason": lambda row: text(row["reason"]),
    }
    print_rows(
        [summary_row(view) for view in views.values()],
        columns,
        output,
        fields=_FIELDS,
        right=("epochs", "best", "submitted", "took"),
        empty=f"no runs in {store.uri} yet; try: dlcluster submit jobs/lstm.yaml",
    )


@click.command(cls=Command, examples=["dlcluster show latest", "dlcluster show 20261121-0930 -o json"])
@run_argument
@storage_option
@output_option
def show(run: str, storage: str | None, output: str) -> None:
    """Show one run: its state, its attempts, its job.

    The job is in the output of -o json. RUN is a run's id, the beginning of one, or latest.
    """
    from dlcluster.results.summary import attempt_rows

    found = find_run(run, storage)
    view = found.view
    if output == "csv":
        print_csv([summary_row(view)], _FIELDS)
        return
    attempts = attempt_rows(found.objects, found.run_id)
    if output == "json":
        # What the row has as a text ("spec") is there as a document ("job").
        row = {name: value for name, value in view.run.items() if name != "spec"}
        print_json(
            {
                **row,
                **summary_row(view),
                "warnings": view.fence.warnings if view.fence else [],
                "attempts": attempts,
                "job": view.fence.job if view.fence else None,
            }
        )
        return
    click.echo(f"{view.run_id}  {state(view.state)}")
    for name, value in _facts(found, view):
        click.echo(f"  {name:<10} {words(value)}")
    if attempts:
        click.echo(f"\n{_attempts(attempts)}")
    say(
        f"\nits job file: {command_for(found.objects, 'show', view.run_id, '-o', 'json')}"
        f"\nhow well it did: {command_for(found.objects, 'results', view.run_id)}"
    )


def _facts(found: Run, view: RunView) -> list[tuple[str, str]]:
    """What ``show`` says of a run, line by line."""
    run, job = view.run, view.fence.job if view.fence else {}
    best = run.get("best_value")
    under_way = view.exit_code is None and view.age is not None
    facts = [
        ("reason", text(view.reason)),
        *(("warning", warning) for warning in (view.fence.warnings if view.fence else ())),
        ("about", text(run.get("description"))),
        ("labels", ", ".join(f"{name}: {value}" for name, value in (run.get("labels") or {}).items())),
        ("job", _in_words(job)),
        ("submitted", f"{when(run.get('submitted_at'))} by {run.get('submitted_by')}"),
        ("took", seconds(_took(view)) + (" so far" if view.exit_code is None else "")),
        ("heartbeat", f"{seconds(view.age)} ago" if under_way else ""),
        ("epochs", _epochs(view, " of ")),
        ("best", "" if best is None else f"{run['metric']} {number(best)}"),
        ("dashboard", text(view.fence.address if view.fence else None)),
        ("store", found.objects.uri),
    ]
    return [(name, value) for name, value in facts if value.strip()]


def _in_words(job: Mapping[str, Any]) -> str:
    """What a job does: ``lstm on co2, 2 workers with 1 GPU each``."""
    model, data, resources = (job.get(name) or {} for name in ("model", "data", "resources"))
    predict = job.get("predict") or {}
    if predict:
        line = f"{predict.get('run')} predicts {predict.get('data')} into {predict.get('out')}"
    elif model and data:
        line = f"{model.get('name')} on {data.get('name') or data.get('path')}"
    else:
        return ""
    workers, gpus = resources.get("num_workers") or 1, resources.get("gpus_per_worker") or 0
    with_gpus = f" with {gpus:g} GPU{'s' if gpus > 1 else ''}{' each' if workers > 1 else ''}" if gpus else ""
    return line if workers == 1 and not gpus else f"{line}, {workers} worker{'s' * (workers > 1)}{with_gpus}"


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> str:
    header = ["attempt", "from epoch", "state", "cause", "took", "where"]
    rows = [
        [
            f"{row['fence']}.{row['attempt']}", text(row["start_epoch"]), text(row["state"]), text(row["cause"]),
            seconds(row["duration_seconds"]), f"{text(row['host'])} {text(row['device'])}".strip(),
        ]
        for row in attempts
    ]  # fmt: skip
    if len(attempts) > 1:  # that of a single one is the run's
        header.append("message")
        rows = [[*cells, text(row["message"])] for cells, row in zip(rows, attempts, strict=True)]
    return table(rows, header, right=("from epoch", "took"))


def _epochs(view: RunView, of: str) -> str:
    from dlcluster.results.summary import done_epochs, planned_epochs

    planned = planned_epochs(view)
    return f"{done_epochs(view)}{of}{planned}" if planned is not None else ""


def _took(view: RunView) -> float | None:
    """Seconds a run took, or has taken so far since it was submitted; None where its end is not known."""
    submitted = view.run.get("submitted_at")
    if view.exit_code is None and submitted is not None:
        return (datetime.now(UTC) - submitted).total_seconds()  # type: ignore[no-any-return]
    return view.run.get("duration_seconds")


@click.command(cls=Command, examples=["dlcluster logs latest", "dlcluster logs latest -f"])
@run_argument
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the run ends, and end with its exit code.")
@storage_option
@click.pass_context
def logs(context: click.Context, run: str, following: bool, storage: str | None) -> None:
    """Print what a run logged; with -f as it comes.

    Ctrl-C leaves the run going. RUN is a run's id, the beginning of one, or latest.
    """
    found = find_run(run, storage)
    if not following:
        from dlcluster.store.read import read_logs

        lines = read_logs(found.objects, found.run_id)[0]
        if lines:
            click.echo("\n".join(clean(line) for line in lines))
        else:
            say(f"{found.run_id} has logged nothing yet")
        return
    view = None
    try:
        for update in found.follow(logs=True):
            if update.line is not None:
                click.echo(clean(update.line))
            view = update.view or view
    except KeyboardInterrupt:
        from dlcluster.cli.follow import left_going

        left_going(found)
        context.exit(ExitCode.INTERRUPTED)
    if view is not None:
        say(f"{view.run_id} {_ended(view)}")
        context.exit(view.exit_code or ExitCode.SUCCEEDED)


@click.command(cls=Command, examples=["dlcluster stop latest", 'dlcluster stop latest --reason "wrong data"'])
@run_argument
@click.option("--reason", metavar="TEXT", default="", help="Why; kept with the run.")
@storage_option
@click.pass_context
def stop(context: click.Context, run: str, reason: str, storage: str | None) -> None:
    """Stop a run.

    It ends sealed, as STOPPED, with a checkpoint and all its rows. RUN is a run's id, the beginning of one, or
    latest.
    """
    found = find_run(run, storage)
    before = found.view
    if before.sealed:
        say(f"{before.run_id} has ended already: {_ended(before)}")
        return
    try:
        view = found.stop(reason, say=say)
    except KeyboardInterrupt:
        say(f"\n{found.run_id} has been asked to stop; see: {command_for(found.objects, 'show', found.run_id)}")
        context.exit(ExitCode.INTERRUPTED)
    say(f"{view.run_id} {_ended(view)}")
    if not view.sealed:
        context.exit(ExitCode.FAILED)


def _ended(view: RunView) -> str:
    return f"{view.state}{f': {clean(view.reason)}' if view.reason else ''}"


@click.command(cls=Command, examples=["dlcluster resume latest", "dlcluster resume 20261121-0930 --detach"])
@run_argument
@storage_option
@address_option
@click.option("--detach", "-d", is_flag=True, help="Return once the cluster has the run again.")
@click.option("--take-over", is_flag=True, help="Take it from a driver that may still be alive.")
@click.option("--insecure", is_flag=True, help="Allow plain http to another machine without a token.")
@output_option
@click.pass_context
def resume(
    context: click.Context,
    *,
    run: str,
    storage: str | None,
    address: str | None,
    detach: bool,
    take_over: bool,
    insecure: bool,
    output: str,
) -> None:
    """Go on with a run that ended before its work was done.

    It goes on from its newest checkpoint, with the code it had. RUN is a run's id, the beginning of one, or latest.
    """
    from dlcluster.cli.follow import finish

    found = find_run(run, storage).resume(address=address, insecure=insecure, take_over=take_over, say=say)
    finish(context, found, detach=detach, output=output)
