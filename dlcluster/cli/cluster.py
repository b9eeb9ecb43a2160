"""``cluster up|down|status``: the Ray cluster on this machine."""

from __future__ import annotations

from typing import Any

import click

from dlcluster.cli.group import Group
from dlcluster.cli.output import output_option, print_rows, say
from dlcluster.cli.text import text, when
from dlcluster.errors import ExitCode


@click.group(cls=Group, examples=["dlcluster cluster up", "dlcluster cluster status"])
def cluster() -> None:
    """Start, stop and look at the Ray cluster on this machine."""


@cluster.command(examples=["dlcluster cluster up", "dlcluster cluster up --num-cpus 4"])
@click.option("--num-cpus", type=click.IntRange(min=1), metavar="N", help="CPUs to offer.  [default: all of them]")
@click.option("--num-gpus", type=click.IntRange(min=0), metavar="N", help="GPUs to offer.  [default: all of them]")
def up(num_cpus: int | None, num_gpus: int | None) -> None:
    """Start a Ray cluster here, or find the one that runs.

    Prints its dashboard's address. submit does this by itself. The cluster listens on this machine only, with a
    token.
    """
    from dlcluster.cluster.local import up as start

    found = start(say=say, num_cpus=num_cpus, num_gpus=num_gpus)
    click.echo(found.address)


@cluster.command(examples=["dlcluster cluster down"])
def down() -> None:
    """Stop the Ray cluster that dlcluster started here.

    Nothing else is stopped. Runs on it end; what they stored stays.
    """
    from dlcluster.cluster.local import down as stop

    if not stop(say=say):
        say("no cluster of dlcluster runs on this machine")


_FIELDS = ["state", "dashboard", "num_cpus", "pid", "started_at", "token_path"]


@cluster.command(examples=["dlcluster cluster status", "dlcluster cluster status -o json"])
@output_option
@click.pass_context
def status(context: click.Context, output: str) -> None:
    """Say whether a cluster runs here, and where.

    Exits with 3 when none does.
    """
    from dlcluster.cluster.local import running

    found = running()
    rows: list[dict[str, Any]] = []
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
        "state": lambda row: row["state"],
        "dashboard": lambda row: row["dashboard"],
        "CPUs": lambda row: text(row["num_cpus"]),
        "pid": lambda row: text(row["pid"]),
        "started": lambda row: when(row["started_at"]),
        "token": lambda row: row["token_path"],
    }
    empty = "no cluster of dlcluster runs on this machine; submit starts one"
    print_rows(rows, columns, output, fields=_FIELDS, right=("CPUs", "pid"), empty=empty)
    if not rows:
        context.exit(ExitCode.UNREACHABLE)
