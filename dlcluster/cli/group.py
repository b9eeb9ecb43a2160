"""Commands whose help ends with examples, and groups of them in the order of a day's work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


class Command(click.Command):
    """A command whose help ends with examples.

    Args:
        examples: Lines that can be typed as they stand.
    """

    def __init__(self, *args: Any, examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples."""
        del ctx
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in self.examples))


class Group(Command, click.Group):
    """A group that lists its commands in the order of a day's work, and whose help is all it does by itself."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order they were added."""
        del ctx
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Takes no words for the question what there is, which is no mistake: help on stdout, exit code 0."""
        return super().parse_args(ctx, args or ["--help"])
