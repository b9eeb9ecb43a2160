"""Which files of the user's folder travel with a job, and why the others stay."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dlcluster.cluster.ignore import IgnoreRules, belongs_to_a_tool, looks_secret
from dlcluster.errors import UsageError

MAX_ENTRIES = 200_000
_NAMED = 5  # how many files a warning names before "and N more"


@dataclass
class Contents:
    """What travels.

    Attributes:
        files: Name in the package -> the file and its size in bytes.
        left_out: Why something stays behind that the user may miss -> the names.
    """

    files: dict[str, tuple[Path, int]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """One sentence for each reason why something was left out."""
        return [
            f"Left out of the job's package, {why}: {_some(names)}." for why, names in sorted(self.left_out.items())
        ]


class FolderWalk:
    """Collects a folder's files; a symlink inside the folder becomes what it points to.

    Args:
        root: The folder, resolved.
        exclude: Resolved paths that must not travel.
        skip: A name at the top that the caller brings itself.
    """

    def __init__(self, root: Path, exclude: Sequence[Path] = (), *, skip: str | None = None) -> None:
        self._root = root
        self._exclude = exclude
        self._skip = skip
        self._rules = IgnoreRules(root)
        self._entries = 0
        self._found = Contents()

    def collect(self) -> Contents:
        """Walks the folder.

        Raises:
            UsageError: It holds more than 200,000 files and folders.
        """
        self._visit(self._root, "", (self._root,))
        return self._found

    def _visit(self, folder: Path, prefix: str, around: tuple[Path, ...]) -> None:
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError:
            self._leave("because it cannot be read", prefix)
            return
        for name in names:
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                raise UsageError(
                    f"{self._root} holds more than {MAX_ENTRIES:,} files and folders.",
                    hint="Submit from the folder of your code, or name what must not travel in .rayignore.",
                )
            if not prefix and name == self._skip:
                continue
            self._take(folder / name, prefix + name, around)

    def _take(self, path: Path, name: str, around: tuple[Path, ...]) -> None:
        """One entry: a file is taken, a folder visited, anything else left behind."""
        try:
            is_dir = stat.S_ISDIR(path.stat().st_mode)
        except OSError:
            if not self._rules.ignores(name, is_dir=False):
                self._leave("because it is a broken link or cannot be read", name)
            return
        if self._stays(path, name, is_dir, shown=name):
            return
        if path.is_symlink():
            path = path.resolve()
            if not path.is_relative_to(self._root):
                self._leave("because it is a link out of the folder", name)
                return
            if path in around:
                self._leave("because it is a link to a folder around it", name)
                return
            # A harmless name may point to what stays behind under its own.
            if self._stays(path, path.relative_to(self._root).as_posix(), is_dir, shown=name):
                return
        if is_dir:
            self._visit(path, f"{name}/", (*around, path))
        elif why := _unfit(path, name):
            self._leave(why, name)
        else:
            self._found.files[name] = (path, path.stat().st_size)

    def _stays(self, path: Path, name: str, is_dir: bool, *, shown: str) -> bool:
        if belongs_to_a_tool(path) or self._rules.ignores(name, is_dir):
            return True
        if any(path == other or other in path.parents for other in self._exclude):
            return True
        if looks_secret(path.name, is_dir):
            self._leave("because it looks like a secret (name its value under secrets:)", shown)
            return True
        return False

    def _leave(self, why: str, name: str) -> None:
        self._found.left_out.setdefault(why, []).append(name)


def _unfit(path: Path, name: str) -> str | None:
    """Why a file can't travel, if it can't."""
    if not stat.S_ISREG(path.stat().st_mode):
        return "because it is no regular file"
    if not os.access(path, os.R_OK):
        return "because it cannot be read"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "because its name is not UTF-8"
    return "because of the backslash in its name" if "\\" in name else None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
