"""``submit``, ``validate`` and ``schema``: from a job file to a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path

import click

from dlcluster.cli.group import Command
from dlcluster.cli.output import (
    address_option,
    output_option,
    print_json,
    say,
    storage_option,
)
from dlcluster.errors import ExitCode

_set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override any value of the file, such as training.epochs=3.",
)


@click.command(
    cls=Command,
    examples=[
        "dlcluster submit jobs/lstm.yaml",
        "dlcluster submit jobs/lstm.yaml --set training.epochs=3 --storage s3://bucket/results",
        "dlcluster submit jobs/lstm.yaml --detach",
        "dlcluster submit jobs/lstm.yaml --local",
    ],
)
@click.argument("file", type=click.Path(path_type=Path))
@_set_option
@storage_option
@address_option
@click.option("--detach", "-d", is_flag=True, help="Return once the cluster has the job; print its run id.")
@click.option("--local", is_flag=True, help="Train in this process, without Ray; a breakpoint() works.")
@click.option("--insecure", is_flag=True, help="Allow plain http to another machine without a token.")
@output_option
@click.pass_context
def submit(
    context: click.Context,
    *,
    file: Path,
    overrides: tuple[str, ...],
    storage: str | None,
    address: str | None,
    detach: bool,
    local: bool,
    insecure: bool,
    output: str,
) -> None:
    """Submit a job, and follow it to its end.

    Ctrl-C while following leaves the run going. Exits with 0 when the run succeeded, 1 when it failed, 2 when the
    job file is wrong, 3 when the cluster or the store is away, 4 when a limit ended it, 6 when somebody stopped it.
    """
    from dlcluster import api
    from dlcluster.cli.follow import finish
    from dlcluster.spec import job_warnings

    if local and (address or detach):
        other = "--address" if address else "--detach"
        raise click.UsageError(f"--local runs the job here; it does not go with {other}")
    job = api.load_any(file, overrides=overrides)
    warnings = job_warnings(job)
    for warning in warnings:
        say(f"warning: {warning}")
    try:
        with prints_as_talk(output, local=local):
            run = api.submit(
                job,
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
    for warning in run.warnings:
        if warning not in warnings:
            say(f"warning: {warning}")
    finish(context, run, detach=detach, output=output, ended=local)


def prints_as_talk(output: str, *, local: bool) -> AbstractContextManager[object]:
    """What a user's own code prints is talk, where stdout is for data; on a terminal a debugger needs it as it is.

    Args:
        output: ``table``, ``json`` or ``csv``.
        local: Whether it runs in this process at all.
    """
    mixes = output == "table" and sys.stdout.isatty()
    return nullcontext() if mixes or not local else redirect_stdout(sys.stderr)


def talk_here(output: str) -> Callable[[str], None]:
    """How a run in this process talks: all its lines but the last, where it comes again with the results.

    Args:
        output: ``table``, ``json`` or ``csv``.
    """
    ends = ("SUCCEEDED", "FAILED", "STOPPED") if output == "table" else ()

    def talk(line: str) -> None:
        if line.partition(":")[0] not in ends:
            say(line)

    return talk


@click.command(cls=Command, examples=["dlcluster validate jobs/lstm.yaml", "dlcluster validate jobs/lstm.yaml -o json"])
@click.argument("file", type=click.Path(path_type=Path))
@_set_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="How to print.",
)
def validate(file: Path, overrides: tuple[str, ...], output: str) -> None:
    """Check a job file and print the job with all defaults filled in.

    Every fault is listed with its line; nothing is sent.
    """
    from dlcluster.api import load_any
    from dlcluster.spec import job_warnings

    job = load_any(file, overrides=overrides)
    for warning in job_warnings(job):
        say(f"warning: {warning}")
    if output == "json":
        print_json(job.model_dump(mode="json"))
    else:
        import yaml

        click.echo(yaml.safe_dump(job.model_dump(mode="json"), sort_keys=False, allow_unicode=True).rstrip())
    say(f"{file} is fine")


@click.command(cls=Command, examples=["dlcluster schema > dlcluster.schema.json"])
def schema() -> None:
    """Print the job file's JSON Schema, for editors."""
    from dlcluster.spec import json_schema

    print_json(json_schema())
