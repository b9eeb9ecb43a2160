"""The ``dlcluster`` command: its verbs in the order of a day's work, and how every error ends."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from collections.abc import Callable

import click

import dlcluster
from dlcluster.cli.catalog import datasets, models
from dlcluster.cli.cluster import cluster
from dlcluster.cli.group import Group
from dlcluster.cli.job import schema, submit, validate
from dlcluster.cli.output import discard, say
from dlcluster.cli.predict import predict
from dlcluster.cli.runs import list_runs, logs, resume, show, stop
from dlcluster.cli.scores import results
from dlcluster.cli.text import clean, coloured
from dlcluster.errors import DlclusterError, ExitCode, JobFileError


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=[
        "dlcluster submit jobs/lstm.yaml     # train, and watch it",
        "dlcluster list                      # what has run",
        "dlcluster results latest            # how well it did",
    ],
)
@click.version_option(dlcluster.__version__, prog_name="dlcluster")
def cli() -> None:
    """Batch jobs for deep learning on Ray: one YAML file, any size, nothing lost."""


for command in (
    submit, validate, schema, list_runs, show, logs, stop, resume, results, predict, models, datasets, cluster,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Runs the command line and exits with the code that `dlcluster.errors` documents."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller (>&-)
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, io.TextIOWrapper):
            # A locale that lacks a character costs that character, not the command.
            stream.reconfigure(errors="backslashreplace")
    ended: list[int] = []
    atexit.register(_leave, ended)  # the first to be registered is the last to be called
    ended.append(guarded(lambda: run(sys.argv[1:])))
    sys.exit(ended[0])


def _leave(ended: list[int]) -> None:
    """Leaves without the destructors of C++ libraries, which abort one process in a hundred after all is done.

    What scripts are told by the exit code has happened by then: "terminate called without an active exception",
    pyarrow 26 and torch in one process.
    """
    if ended:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(ended[0])


def run(arguments: list[str]) -> object:
    """Runs one command; how it ends is for `guarded`, as Click would exit with 1 when a pipe's reader leaves."""
    if "_DLCLUSTER_COMPLETE" in os.environ:  # a shell asks what could come next
        return cli.main(arguments, prog_name="dlcluster")
    with cli.make_context("dlcluster", arguments) as context:
        return cli.invoke(context)


def guarded(run: Callable[[], object]) -> int:
    """Runs a command; whatever goes wrong becomes words on stderr and an exit code, never a traceback."""
    try:
        code = run()
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("\ninterrupted")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; for scripts that is no failure.
        discard(sys.stdout)
        code = ExitCode.SUCCEEDED
    except Exception as error:
        if os.environ.get("DLCLUSTER_DEBUG"):
            raise
        code = _explained(error)
    return code if isinstance(code, int) else ExitCode.SUCCEEDED


def _explained(error: Exception) -> ExitCode:
    """Says what went wrong and what to do instead; returns what it ends the command with."""
    if isinstance(error, JobFileError):
        for fault in error.faults:
            _error(str(fault))
        return error.exit_code
    if isinstance(error, DlclusterError):
        _error(error.message)
        if error.hint:
            say(clean(f"try: {error.hint}" if error.hint.startswith("dlcluster ") else error.hint))
        return error.exit_code
    if isinstance(error, click.ClickException):
        _error(error.format_message())
        context = error.ctx if isinstance(error, click.UsageError) else None
        say(f"try: {context.command_path if context else 'dlcluster'} --help")
        return ExitCode.USAGE
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        # Nothing of ours fails so: stdout is a file on a full disk, or a terminal that went away.
        _error(f"the output cannot be written: {error.strerror}")
        discard(sys.stdout)
        return ExitCode.FAILED
    _error(f"this is a fault of dlcluster: {type(error).__name__}: {error}")
    say("Run it again with DLCLUSTER_DEBUG=1 and send us what it prints.")
    return ExitCode.FAILED


def _error(words: str) -> None:
    prefix = click.style("error:", fg="red", bold=True) if coloured(sys.stderr) else "error:"
    say(f"{prefix} {clean(words)}")
