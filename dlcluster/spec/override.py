"""``--set training.epochs=3``: single values of a job, changed from outside its file."""

from __future__ import annotations

from typing import Any

import yaml

from dlcluster.spec.document import BrokenError, Document, Place, Problem, show_text
from dlcluster.spec.job import kind_of
from dlcluster.spec.keys import expected
from dlcluster.spec.rules import Path
from dlcluster.spec.yamlfile import read_yaml

_AFTER_THE_FILE = 10**9
_QUOTES = "put the value in quotes that reach dlcluster, as in --set 'description=\"a: b\"'"


def apply_override(document: Document, override: str, rank: int) -> None:
    """Change one value of a document; what is wrong with the override becomes a problem of the document."""
    key, equals, text = override.partition("=")
    path: Path = tuple(part.strip() for part in key.split("."))
    place = _place(key.strip(), text, path, rank, bool(equals))
    if not equals or not key.strip():
        message = "must have the form key=value, such as --set training.epochs=3"
        document.problems.append(Problem(place, (), message))
        return
    if not all(path):
        document.problems.append(Problem(place, (), f"{show_text(key)} has an empty part between its dots"))
        return
    try:
        fresh = _read(text)
        parent = _parent(document, path)
    except BrokenError as error:
        document.problems.append(Problem(place, error.path or path, error.message))
        return
    document.forget(path)
    parent[str(path[-1])] = fresh.value
    for size in range(1, len(path)):
        document.places.setdefault(path[:size], place)
    document.places.update({path + below: place for below in fresh.places})
    document.texts.update({path + below: word for below, word in fresh.texts.items()})
    document.traps.update({path + below: trap for below, trap in fresh.traps.items()})
    document.problems += [Problem(place, path + each.path, each.message) for each in fresh.problems]


def _place(key: str, text: str, path: Path, rank: int, equals: bool) -> Place:
    value = "..." if path[0] == "env" else text  # an environment variable may hold a password
    shown = show_text(f"{key}={value}" if equals else key, 60)[1:-1].replace('\\"', '"')
    return Place(f"--set {shown}", _AFTER_THE_FILE + rank)


def _read(text: str) -> Document:
    """The value: a YAML scalar, or a list or mapping in brackets."""
    if len(text) > 2**20:
        raise BrokenError(0, "is longer than 1 MiB")
    if not text.strip():
        return Document(None, places={(): Place("", 0)}, texts={(): ""})
    try:
        document = read_yaml(text, "")
        whole = _is_whole(text)
    except BrokenError as error:
        hint = "" if "quotes" in error.message or "YAML" not in error.message else f"; {_QUOTES}"
        raise BrokenError(0, error.message + hint) from None
    if not whole:
        raise BrokenError(0, f"reads as more than one value, or as a comment: {_QUOTES}")
    return document


def _is_whole(text: str) -> bool:
    """Whether the text is one scalar or one bracketed value, with no comment cut off and no block."""
    events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    first, last = events[2], events[-3]
    if isinstance(first, yaml.CollectionStartEvent) and not first.flow_style:
        return False
    start, end = first.start_mark, last.end_mark
    return start is not None and end is not None and not (text[: start.index] + text[end.index :]).strip()


def _parent(document: Document, path: Path) -> dict[str, Any]:
    """The mapping that holds the path's last key; missing ones on the way are made."""
    current = document.value
    for size in range(1, len(path)):
        key = str(path[size - 1])
        below = path[:size]
        if expected(below, kind_of(document.value)).kind not in ("section", "mapping", "any", "unknown"):
            raise BrokenError(0, f"{'.'.join(map(str, below))} has no keys below it", path)
        value = current.get(key)
        if value is None:
            value = current[key] = {}
        elif not isinstance(value, dict):
            raise BrokenError(0, f"{'.'.join(map(str, below))} is no mapping in the job file", path)
        current = value
    assert isinstance(current, dict)  # noqa: S101 - the caller checked the top level
    return current
