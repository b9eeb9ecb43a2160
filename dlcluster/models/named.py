"""Finds what a job file names: ``package.module:thing`` from the folder a job was submitted from."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlcluster.errors import ComponentError

_NAMED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def is_own(name: str) -> bool:
    """Tells whether ``name`` means the user's own code (``package.module:thing``) rather than ours."""
    return ":" in name


def near(name: str, known: Iterable[str]) -> str:
    """Words that help with a misspelt ``name``: the nearest known one, and all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names) if names else "nothing"
    return f"did you mean {close[0]}? (there is: {listed})" if close else f"there is: {listed}"


def look_up(name: str, folder: Path) -> str | None:
    """Looks for ``package.module:thing`` below ``folder`` without importing anything.

    Returns:
        What is wrong, in words, or None when the thing is there or only an import could tell.
    """
    if not _NAMED.fullmatch(name):
        return f"must look like package.module:thing (got {name!r})"
    module, _, attribute = name.partition(":")
    stem = folder.joinpath(*module.split("."))
    source = next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)
    if source is None:
        return _missing_module(module, folder)
    try:
        tree = ast.parse(source.read_bytes(), filename=str(source))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"{source.name}{f':{line}' if line else ''} is not valid Python: {getattr(error, 'msg', error)}"
    names = _top_level_names(tree)
    if names is None or attribute in names:
        return None
    return f"{module} has no {attribute!r}; {near(attribute, names)}"


def _missing_module(module: str, folder: Path) -> str | None:
    top = module.partition(".")[0]
    here = (folder / top).is_dir() or (folder / f"{top}.py").is_file()
    # A package installed in the cluster's image is as good as a file in the folder; only look, never import.
    if not here and importlib.util.find_spec(top) is not None:
        return None
    modules = [path.stem for path in folder.glob("*.py")]
    modules += [path.parent.name for path in folder.glob("*/__init__.py")]
    return f"no module {module!r} in the folder you submit from; {near(top, modules)}"


def _top_level_names(tree: ast.Module) -> set[str] | None:
    """Names a module defines at its top level, or None when a star import or the like hides them."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.If | ast.Try):
            return None
    return names


def import_named(name: str, what: str) -> Any:
    """Imports ``package.module:thing``.

    Args:
        name: The name as the job file has it.
        what: ``model``, ``data set``, ``loss``, ``metric``: for the message.

    Raises:
        ComponentError: When it isn't there, or its module fails at import.
    """
    if not _NAMED.fullmatch(name):
        raise ComponentError(f"{what} {name!r} must look like package.module:thing")
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ComponentError(
            f"{what} {name}: no module {error.name!r}",
            hint="It must lie in the folder you submit from, or be installed on the cluster.",
        ) from error
    except (Exception, SystemExit) as error:
        raise ComponentError(
            f"{what} {name}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise ComponentError(f"{what} {name}: {module_name} has no {attribute!r}; {near(attribute, public)}") from None
