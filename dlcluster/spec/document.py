"""A file's values together with where each of them stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dlcluster.spec.rules import Path
from dlcluster.spec.scalars import LARGEST, SMALLEST, Trap, check_text

MAX_DEPTH = 64
MAX_VALUES = 100_000


class Place(NamedTuple):
    """A place a user can go to, and its rank among all of them."""

    where: str
    line: int


class Problem(NamedTuple):
    """A fault that is in words already."""

    place: Place
    path: Path
    message: str


class BrokenError(Exception):
    """A file that cannot be read on: its one fault."""

    def __init__(self, line: int, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.path = path


@dataclass
class Document:
    """The values of one file.

    Attributes:
        value: Nested dicts, lists and plain scalars.
        places: Where each value stands.
        texts: Unquoted words as written.
        traps: Values that are not taken as they stand; ``value`` holds them as text.
        problems: Faults found while reading.
    """

    value: Any
    places: dict[Path, Place] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    traps: dict[Path, Trap] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Where a value stands; for a missing one, where the nearest thing around it stands."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def forget(self, path: Path) -> None:
        """Drop what is known about a value and all below it."""
        size = len(path)
        for known in (self.places, self.texts, self.traps):
            for key in [key for key in known if key[:size] == path]:
                del known[key]


def show_text(text: str, limit: int = 40) -> str:
    """Text in double quotes, cut to a readable length, with control characters escaped."""
    shown = text if len(text) <= limit else text[:limit] + "..."
    if shown.isprintable():
        return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return json.dumps(shown)


def show_key(path: Path) -> str:
    """A path as it is written in messages: ``runtime_env.pip[1]``."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            simple = part.isprintable() and 0 < len(part) <= 64
            shown += ("." if shown else "") + (part if simple else show_text(part, 64))
    return shown


def from_mapping(mapping: Any, source: str) -> Document:
    """A document of values that Python code made.

    Raises:
        BrokenError: If they are nested too deep or are too many.
    """
    document = Document(None)
    document.value = _copy(mapping, (), Place(source, 0), document)
    return document


def _copy(value: Any, path: Path, place: Place, document: Document) -> Any:
    if len(path) > MAX_DEPTH:
        raise BrokenError(0, f"is nested more than {MAX_DEPTH} deep", path[:2])
    if len(document.places) >= MAX_VALUES:
        raise BrokenError(0, f"holds more than {MAX_VALUES:,} values")
    document.places[path] = place
    if isinstance(value, Mapping):
        return _copy_mapping(value, path, place, document)
    if isinstance(value, list | tuple):
        return [_copy(item, (*path, index), place, document) for index, item in enumerate(value)]
    scalar, trap = _copy_scalar(value)
    if trap is not None:
        document.traps[path] = trap
    return scalar


def _copy_mapping(value: Mapping[Any, Any], path: Path, place: Place, document: Document) -> dict[str, Any]:
    copied: dict[str, Any] = {}
    for key, item in value.items():
        name = str.__str__(key) if isinstance(key, str) else f"{key!s:.100}"
        copied[name] = _copy(item, (*path, name), place, document)
        if not isinstance(key, str):
            document.traps[(*path, name)] = Trap("key", name)
        elif trap := check_text(name):
            document.traps[(*path, name)] = trap
    return copied


def _copy_scalar(value: Any) -> tuple[Any, Trap | None]:
    if value is None or isinstance(value, bool):
        return value, None
    if isinstance(value, int):
        fits = SMALLEST <= value <= LARGEST
        return (int(value), None) if fits else ("", Trap("huge", f"{value:#x}"))
    if isinstance(value, float):
        if value - value != 0:  # infinite, or not a number
            return str(value), Trap("infinite", str(value))
        return float(value), None
    if isinstance(value, str):
        text = str.__str__(value)
        return text, check_text(text)
    kind = type(value)
    return "", Trap("object", f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
