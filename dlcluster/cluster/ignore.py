"""What must not travel: .gitignore and .rayignore, the folders of tools, what looks like a secret."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

# Read in this order, as if they were one file: a .rayignore can bring back what a .gitignore leaves out.
_IGNORE_FILES = (".gitignore", ".rayignore")
_TOOL_NAMES = frozenset(
    {
        ".git", ".hg", ".svn", ".venv", "__pycache__", "node_modules", ".mypy_cache", ".ruff_cache",
        ".pytest_cache", ".hypothesis", ".tox", ".nox", ".ipynb_checkpoints", ".import_linter_cache",
    }
)  # fmt: skip
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".dlcluster", ".ray"})
_SECRET_FILES = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519",
    ".netrc", ".pypirc", ".git-credentials", "auth_token",
)  # fmt: skip
_NO_SECRET = frozenset({".env.example", ".env.sample", ".env.template", ".env.dist"})


def belongs_to_a_tool(path: Path) -> bool:
    """Whether a folder (or a worktree's ``.git`` file) is version control, a cache, a virtual environment."""
    return path.name in _TOOL_NAMES or (path / "pyvenv.cfg").is_file()


def looks_secret(name: str, is_dir: bool) -> bool:
    """Whether a file's or folder's name says that it holds a secret."""
    lower = name.lower()
    if is_dir:
        return lower in _SECRET_FOLDERS
    return lower not in _NO_SECRET and any(fnmatch(lower, pattern) for pattern in _SECRET_FILES)


class IgnoreRules:
    """The ignore files of a folder, of those in it and of those above it up to its git repository.

    Args:
        root: The folder that is packed, resolved.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._specs: dict[str, GitIgnoreSpec | None] = {}
        self._above: list[tuple[GitIgnoreSpec, str]] = []
        top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
        for folder in root.parents if top != root else ():
            spec, below = _read(folder), root.relative_to(folder).as_posix()
            # Who submits from a folder that git ignores as a whole means its files all the same.
            if spec is not None and not spec.match_file(f"{below}/"):
                self._above.append((spec, below))
            if folder == top:
                break

    def ignores(self, name: str, is_dir: bool) -> bool:
        """Whether a file or folder, or a folder it lies in, is ignored.

        Args:
            name: Its path below the root, with slashes.
            is_dir: Whether it is a folder.
        """
        path = PurePosixPath(name)
        around = [parent.as_posix() for parent in reversed(path.parents)][1:]
        return any(self._verdict(f"{folder}/") for folder in around) or self._verdict(f"{name}/" if is_dir else name)

    def _verdict(self, name: str) -> bool:
        """The word of the nearest ignore file that has one, as git reads them."""
        for folder in PurePosixPath(name).parents:
            prefix = "" if folder == PurePosixPath() else f"{folder.as_posix()}/"
            spec = self._spec(prefix)
            if spec is not None and (found := spec.check_file(name.removeprefix(prefix)).include) is not None:
                return found
        for spec, below in self._above:
            if (found := spec.check_file(f"{below}/{name}").include) is not None:
                return found
        return False

    def _spec(self, prefix: str) -> GitIgnoreSpec | None:
        if prefix not in self._specs:
            self._specs[prefix] = _read(self._root / prefix)
        return self._specs[prefix]


def _read(folder: Path) -> GitIgnoreSpec | None:
    lines: list[str] = []
    for name in _IGNORE_FILES:
        path = folder / name
        if path.is_file():
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
    return GitIgnoreSpec.from_lines(lines) if lines else None
