"""``submit``, ``validate`` and ``schema``: from a job file to a run."""

from __future__ import annotations

from pathlib import Path

import click

from dlcluster.cli.output import address_option, output_option, print_json, say, storage_option
from dlcluster.errors import ExitCode

_set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override any value of the file, such as training.epochs=3.",
)


@click.command()
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

    Ctrl-C while following leaves the run going.

    \b
    dlcluster submit jobs/lstm.yaml
    dlcluster submit jobs/lstm.yaml --set training.epochs=3 --storage s3://bucket/results
    dlcluster submit jobs/lstm.yaml --detach
    dlcluster submit jobs/lstm.yaml --local
    """
    from dlcluster import api
    from dlcluster.cli.follow import follow_epochs, print_results

    if local and (address or detach):
        raise click.UsageError(
            f"--local runs here; it does not go with {'--address' if address else '--detach'}"
        )
    run = api.submit(
        file, storage=storage, address=address, local=local, overrides=overrides, insecure=insecure, say=say
    )
    for warning in run.warnings:
        say(f"warning: {warning}")
    if detach:
        click.echo(run.run_id)
        say(f"sent; follow it with: dlcluster logs {run.run_id} -f")
        return
    view = run.view if local else follow_epochs(run, quiet=output != "table")
    print_results(run.objects, view, output)
    context.exit(view.exit_code if view.exit_code is not None else ExitCode.FAILED)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@_set_option
@output_option
def validate(file: Path, overrides: tuple[str, ...], output: str) -> None:
    """Check a job file and print the job with all defaults filled in.

    Every fault is listed with its line; nothing is sent.

    \b
    dlcluster validate jobs/lstm.yaml
    dlcluster validate jobs/lstm.yaml -o json
    """
    from dlcluster.api import load
    from dlcluster.spec import job_warnings

    job = load(file, overrides=overrides)
    for warning in job_warnings(job):
        say(f"warning: {warning}")
    if output == "json":
        print_json(job.model_dump(mode="json"))
    elif output == "csv":
        raise click.UsageError("a job is no table; use -o table or -o json")
    else:
        import yaml

        click.echo(yaml.safe_dump(job.model_dump(mode="json"), sort_keys=False, allow_unicode=True).rstrip())
        say(f"{file} is fine")


@click.command()
def schema() -> None:
    """Print the job file's JSON Schema, for editors.

    \b
    dlcluster schema > dlcluster.schema.json
    """
    from dlcluster.spec import json_schema

    print_json(json_schema())
