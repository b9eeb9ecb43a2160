"""``predict``: a run's model over data of any size, and how such a run is followed and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from dlcluster.cli.group import Command
from dlcluster.cli.output import address_option, command_for, output_option, print_csv, print_json, say, storage_option
from dlcluster.cli.text import clean, state
from dlcluster.errors import ExitCode

if TYPE_CHECKING:
    from dlcluster.api import Run
    from dlcluster.store.objects import Objects
    from dlcluster.store.read import RunView


@click.command(
    cls=Command,
    examples=[
        "dlcluster predict latest --data new.csv --out predictions --local",
        "dlcluster predict 20261121-0930 --data s3://bucket/new --out s3://bucket/predictions --num-workers 8",
        "dlcluster predict latest --data pictures --format images --out predictions --detach",
    ],
)
@click.argument("run", metavar="RUN")
@click.option("--data", metavar="PATH", required=True, help="A file, folder or glob, local, s3:// or https://.")
@click.option("--out", metavar="URI", required=True, help="A folder or s3://bucket/prefix without files.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "parquet", "images", "text"]),
    help="What the files are.  [default: by their ending]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    default=1024,
    show_default=True,
    help="Rows the model is given at once.",
)
@click.option(
    "--num-workers",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Processes that predict side by side.",
)
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="GPUs of each, or a share such as 0.5.",
)
@storage_option
@address_option
@click.option("--detach", "-d", is_flag=True, help="Return once the cluster has the job; print its run id.")
@click.option("--local", is_flag=True, help="Predict in this process, without Ray.")
@click.option("--insecure", is_flag=True, help="Allow plain http to another machine without a token.")
@output_option
@click.pass_context
def predict(
    context: click.Context,
    *,
    run: str,
    data: str,
    out: str,
    format_: str | None,
    batch_size: int,
    num_workers: int,
    gpus_per_worker: float,
    storage: str | None,
    address: str | None,
    detach: bool,
    local: bool,
    insecure: bool,
    output: str,
) -> None:
    """Predict with a run's model over data of any size.

    The data is read piece by piece and prepared as it was for training, by the code that the run had. Each piece
    becomes a Parquet file with its columns and, beside them, its predictions; by name the files are in the order of
    the data. The last thing to be written is _SUCCESS: without it, predictions are not whole. A series is read whole,
    and the predictions of each of its windows stand below each other; of a text file, each line is one text.

    RUN is a run's id, the beginning of one, latest (of those that trained), or a model's uri. It is a run like others,
    with an id of its own; as a job file it has kind: predict.
    """
    from dlcluster import api
    from dlcluster.cli.follow import finish
    from dlcluster.cli.job import prints_as_talk, talk_here

    if local and (address or detach):
        other = "--address" if address else "--detach"
        raise click.UsageError(f"--local predicts here; it does not go with {other}")
    try:
        with prints_as_talk(output, local=local):
            sent = api.predict(
                run,
                data=data,
                out=out,
                format=format_,
                batch_size=batch_size,
                resources={"num_workers": num_workers, "gpus_per_worker": gpus_per_worker},
                storage=storage,
                address=address,
                local=local,
                insecure=insecure,
                say=talk_here(output) if local else say,
            )
    except KeyboardInterrupt:
        if not local:
            raise
        say("\ncut short: what it wrote is kept, but it is not sealed; do that with: dlcluster stop RUN")
        context.exit(ExitCode.INTERRUPTED)
    for warning in sent.warnings:
        say(f"warning: {warning}")
    finish(context, sent, detach=detach, output=output, ended=local)


def predicts(view: RunView) -> bool:
    """Whether a run predicts rather than trains."""
    return bool(_job(view).get("kind") == "predict")


def follow_prediction(run: Run, *, quiet: bool = False) -> RunView:
    """Shows what a run logs, until it has ended; all of it goes to stderr.

    Args:
        run: What to follow.
        quiet: Show nothing; only wait.
    """
    from dlcluster.cli.follow import left_going

    view = run.view
    if not quiet:
        where = f"  dashboard {view.fence.address}" if view.fence and view.fence.address else ""
        say(f"run {run.run_id}{where}")
    try:
        for update in run.follow(logs=True):
            view = update.view or view
            # Its last line comes again with what is printed at the end.
            if update.line is not None and not quiet and not update.line.startswith(("SUCCEEDED", "FAILED", "STOPPED")):
                say(clean(update.line))
    except KeyboardInterrupt:
        left_going(run)
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
    return view


def print_prediction(objects: Objects, view: RunView, output: str) -> None:
    """Prints what came of a run that predicts, and where it lies."""
    wanted = _job(view).get("predict") or {}
    row = {
        "run_id": view.run_id,
        "name": view.run.get("name"),
        "state": view.state,
        "reason": view.reason,
        "model": wanted.get("run"),
        "data": wanted.get("data"),
        "out": wanted.get("out"),
    }
    if output == "json":
        print_json(row)
    elif output == "csv":
        print_csv([row], list(row))
    else:
        reason = f": {clean(view.reason)}" if view.reason else ""
        click.echo(f"{view.run_id}  {state(view.state)}{reason}\n")
        for name, words in (("model of", row["model"]), ("data", row["data"]), ("out", row["out"])):
            click.echo(f"{name:<10}{clean(str(words))}")
        last = [["logs", view.run_id]] if view.exit_code else []
        lines = [command_for(objects, *line) for line in [*last, ["show", view.run_id]]]
        say("\nnext: " + "\n      ".join(lines))


def _job(view: RunView) -> Mapping[str, Any]:
    return view.fence.job if view.fence is not None else {}
