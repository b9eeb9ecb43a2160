"""``cluster up|down|status``: the Ray cluster on this machine."""

from __future__ import annotations

import click

from dlcluster.cli.output import output_option, print_rows, say, text, when
from dlcluster.errors import ExitCode


@click.group()
def cluster() -> None:
    """Start, stop and look at the Ray cluster on this machine."""


@cluster.command()
@click.option("--num-cpus", type=click.IntRange(min=1), help="CPUs to offer.  [default: all]")
@click.option("--num-gpus", type=click.IntRange(min=0), help="GPUs to offer.  [default: all]")
def up(num_cpus: int | None, num_gpus: int | None) -> None:
    """Start a Ray cluster on this machine, or find the one that runs.

    submit does this by itself. It listens on this machine only, with a token.

    \b
    dlcluster cluster up
    dlcluster cluster up --num-cpus 4
    """
    from dlcluster.cluster.local import up as start

    found = start(say=say, num_cpus=num_cpus, num_gpus=num_gpus)
    click.echo(found.address)


@cluster.command()
def down() -> None:
    """Stop the Ray cluster that dlcluster started on this machine, and nothing else.

    Runs on it end; what they stored stays.

    \b
    dlcluster cluster down
    """
    from dlcluster.cluster.local import down as stop

    if not stop(say=say):
        say("no cluster of dlcluster runs on this machine")


@cluster.command()
@output_option
@click.pass_context
def status(context: click.Context, output: str) -> None:
    """Say whether a cluster runs on this machine, and where its dashboard is.

    \b
    dlcluster cluster status
    dlcluster cluster status -o json
    """
    from dlcluster.cluster.local import running

    found = running()
    rows = []
    if found is not None:
        rows.append(
            {
                "state": "RUNNING",
                "dashboard": found.address,
                "num_cpus": found.num_cpus,
                "pid": found.pid,
                "started_at": found.started_at,
                "token_path": str(found.token_path),
            }
        )
    columns = {
        "state": text,
        "dashboard": text,
        "num_cpus": text,
        "pid": text,
        "started_at": when,
        "token_path": text,
    }
    print_rows(rows, columns, output, empty="no cluster of dlcluster runs on this machine; submit starts one")
    if not rows:
        context.exit(ExitCode.UNREACHABLE)
