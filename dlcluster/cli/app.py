"""The ``dlcluster`` command: its groups of verbs, and how every error ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

import dlcluster
from dlcluster.cli.catalog import datasets, models
from dlcluster.cli.cluster import cluster
from dlcluster.cli.job import schema, submit, validate
from dlcluster.cli.runs import list_runs, logs, results, show, stop
from dlcluster.errors import DlclusterError, ExitCode


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(dlcluster.__version__, prog_name="dlcluster")
def cli() -> None:
    """Batch jobs for deep learning on Ray: one YAML file, any size, nothing lost.

    \b
    dlcluster submit jobs/lstm.yaml     train, and watch it
    dlcluster list                      what has run
    dlcluster results latest            how well
    """


for command in (submit, validate, schema, list_runs, show, logs, stop, results, models, datasets, cluster):
    cli.add_command(command)


def main() -> None:
    """Runs the command line and exits with the code that `dlcluster.errors` documents."""
    sys.exit(guarded(lambda: cli.main(standalone_mode=False)))


def guarded(run: Callable[[], object]) -> int:
    """Runs a command; whatever goes wrong becomes words on stderr and an exit code, never a traceback."""
    try:
        code = run()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except DlclusterError as error:
        click.echo(click.style("error: ", fg="red", bold=True, reset=True) + str(error), err=True)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; say nothing, at interpreter exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.SUCCEEDED
    except Exception as error:
        if os.environ.get("DLCLUSTER_DEBUG"):
            raise
        click.echo(f"error: this is a fault of dlcluster: {type(error).__name__}: {error}", err=True)
        click.echo("Run it again with DLCLUSTER_DEBUG=1 and send us what it prints.", err=True)
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.SUCCEEDED
