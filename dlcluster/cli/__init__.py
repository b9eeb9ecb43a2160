"""The command line. Click and rich live here only; what a command needs is imported when it runs."""

from dlcluster.cli.app import main

__all__ = ["main"]
