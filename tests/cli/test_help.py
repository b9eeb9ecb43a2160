"""Help, and what it costs: every command has examples that work, and nothing heavy is imported for them."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import dlcluster
from dlcluster.cli.app import cli
from dlcluster.cli.group import Command
from tests.cli.conftest import Run


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from commands(one, (*path, name))


ALL = dict(commands(cli))


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "dlcluster")
def test_the_help_of_every_command_ends_with_examples_of_it(path: tuple[str, ...], here: Run) -> None:
    ended = here(*path, "--help")
    assert (ended.code, ended.err) == (0, "")
    before, examples = ended.out.split("\nExamples:\n")
    assert before.startswith(f"Usage: {' '.join(['dlcluster', *path])} ")
    assert all(line.startswith(f"  {' '.join(['dlcluster', *path])}") for line in examples.splitlines())
    assert ended.out == here(*path, "-h").out


def test_no_line_of_help_is_cut_short(here: Run) -> None:
    for path, command in ALL.items():
        if isinstance(command, click.Group):
            assert "..." not in here(*path, "--help").out.replace("[ARGS]...", "")


def examples() -> list[str]:
    return [line for command in ALL.values() if isinstance(command, Command) for line in command.examples]


@pytest.mark.parametrize("line", examples())
def test_every_example_names_commands_and_options_that_exist(line: str) -> None:
    program, *words = shlex.split(line.partition(" > ")[0], comments=True)
    assert program == "dlcluster"
    path: tuple[str, ...] = ()
    while words and (*path, words[0]) in ALL:
        path = (*path, words.pop(0))
    command = ALL[path]
    assert not isinstance(command, click.Group)
    with command.make_context(" ".join(path), words) as context:
        assert not context.args


def test_every_command_has_examples() -> None:
    assert all(isinstance(command, Command) and command.examples for command in ALL.values())


@pytest.mark.parametrize("path", [(), ("cluster",)])
def test_a_group_alone_shows_its_help(path: tuple[str, ...], here: Run) -> None:
    ended = here(*path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == here(*path, "--help").out


def test_help_lists_the_verbs_in_the_order_of_a_days_work(here: Run) -> None:
    listed = here("--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == [
        "submit", "validate", "schema", "list", "show", "logs", "stop", "resume", "results", "predict", "models",
        "datasets", "cluster",
    ]  # fmt: skip


def test_version(here: Run) -> None:
    assert here("--version").out == f"dlcluster, version {dlcluster.__version__}\n"


IMPORTS = """
import sys
from dlcluster.cli.app import guarded, run
code = guarded(lambda: run(sys.argv[1:]))
print(*[name for name in ("torch", "ray", "pyarrow", "boto3") if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [(["--help"], ""), (["models"], ""), (["list", "--storage", "none"], ""), (["submit", "--help"], "")],
)
def test_what_needs_no_torch_loads_none(arguments: list[str], loaded: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", IMPORTS, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == loaded


def test_help_is_there_at_once(process: Run) -> None:
    process("--help")  # the first one may compile
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        assert process("--help").code == 0
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.5
