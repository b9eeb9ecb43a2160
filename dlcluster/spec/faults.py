"""From what pydantic and the YAML reader found to sentences a user can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlcluster.spec.document import Document, show_text
from dlcluster.spec.job import kind_of
from dlcluster.spec.keys import Expected, expected, near, unknown_key
from dlcluster.spec.rules import Path
from dlcluster.spec.scalars import Trap
from dlcluster.spec.units import WrongValueError, duration_seconds

_LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def error_path(error: Mapping[str, Any]) -> Path:
    """The path of the value that pydantic's error is about (of a key's value, for a faulty key)."""
    path: Path = tuple(error["loc"])
    is_key = len(path) > 2 and path[-1] == "[key]" and error["type"] != "extra_forbidden"
    return path[:-1] if is_key else path


def error_words(error: Mapping[str, Any], document: Document) -> str:
    """Pydantic's error in plain words."""
    path, root = error_path(error), kind_of(document.value)
    wanted = expected(path, root)
    kind, value = error["type"], error.get("input")
    context = error.get("ctx") or {}
    if kind == "extra_forbidden":
        return unknown_key(path, root)
    if kind == "missing":
        return f"is missing: {_example(path, wanted)}"
    if value is None:
        required = wanted.field is not None and wanted.field.is_required()
        return f"is empty: {_example(path, wanted)}" if required else "is empty: give it a value, or remove the key"
    got = _got(value, path, document)
    if error["loc"] != path:  # the key itself
        return str(context.get("error", "is no name that can stand here"))
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"must be {words} {context[name]:g}{got}"
    if kind == "finite_number":
        return f"must be a finite number{got}"
    if kind == "value_error":
        wrong = context.get("error")
        if isinstance(wrong, WrongValueError):
            return wrong.problem + got + (f": {wrong.hint}" if wrong.hint else "")
        return str(wrong)
    return _wrong_type(value, got, wanted, path, document)


def _example(path: Path, wanted: Expected) -> str:
    examples = wanted.field.examples if wanted.field else None
    return f"write {path[-1]}: {examples[0]}" if examples else "give it a value"


def _wrong_type(value: Any, got: str, wanted: Expected, path: Path, document: Document) -> str:
    if wanted.kind == "text":
        if isinstance(value, list | dict):
            return f"must be text{got}"
        shown = f": {show_text(document.texts[path])}" if path in document.texts and not _hidden(path) else ""
        return f"must be text: put it in quotes{shown}" if shown or path[0] == "env" else f"must be text{got}"
    hint = ""
    if wanted.kind == "whole" and isinstance(value, float) and value == int(value) and abs(value) < 2**53:
        hint = f": write {int(value)}"
    elif wanted.kind in ("whole", "number", "truth") and isinstance(value, str):
        hint = _number_hint(value, wanted, path)
    elif wanted.kind == "choice":
        guess = near(str(value), [str(choice) for choice in wanted.choices])
        hint = f": did you mean {guess}?" if guess else ""
    elif wanted.kind == "list" and isinstance(value, str | int | float) and not _hidden(path):
        return f"must be a list: write [{_written(value, path, document)}]"
    elif wanted.kind == "section" and wanted.section is not None:
        names = list(wanted.section.model_fields)
        if "name" in names and isinstance(value, str):
            return f"must be a mapping: write {{name: {_written(value, path, document)}}}"
        return f"must be a mapping{got}: its keys are {', '.join(names)}"
    return f"must be {wanted.phrase}{got}{hint}"


def _number_hint(value: str, wanted: Expected, path: Path) -> str:
    text = value.strip()
    if wanted.kind == "truth":
        return ": write it without quotes" if text in ("true", "false") else ""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number - number == 0 and (wanted.kind == "number" or text.lstrip("+-").isdigit()):
        return ": write it without quotes"
    if str(path[-1]).endswith("_seconds"):
        try:
            return f": write {duration_seconds(text):g}"
        except WrongValueError:
            return ""
    return ""


def _hidden(path: Path) -> bool:
    """Whether a value may be a password: those of environment variables are never shown."""
    return path[:1] == ("env",)


def _written(value: Any, path: Path, document: Document) -> str:
    if path in document.texts and document.texts[path].isprintable():
        text = document.texts[path]
        return text if len(text) <= 40 else text[:40] + "..."
    if isinstance(value, bool):
        return str(value).lower()
    return show_text(value) if isinstance(value, str) else repr(value)


def _got(value: Any, path: Path, document: Document) -> str:
    if _hidden(path):
        return ""
    if isinstance(value, list):
        return " (got a list)"
    if isinstance(value, dict):
        return " (got a mapping)"
    return f" (got {_written(value, path, document)})"


def trap_words(trap: Trap, path: Path, document: Document) -> str:
    """What to write instead of a value that cannot be taken as it stands."""
    wanted = expected(path, kind_of(document.value))
    said = _always(trap)
    if said is not None:
        return said
    if _hidden(path):
        return "must be text: put it in quotes"
    quoted = show_text(trap.text)
    shown = quoted.strip('"')
    if wanted.kind == "text":
        return f"must be text: put it in quotes: {quoted}{_taken_for(trap)}"
    if trap.kind in ("infinite", "huge"):
        fits = wanted.kind in ("whole", "number", "any")
        problem = "must be a finite number" if trap.kind == "infinite" else "must fit into 64 bits"
        return f"{problem if fits else 'must be ' + wanted.phrase} (got {shown})"
    if wanted.kind == "any":
        instead = f"write {trap.other}, or put it in quotes" if trap.other else "put it in quotes"
        return f"{instead}: {quoted}{_taken_for(trap)}"
    matches = {"truth": ("truth",), "octal": ("whole", "number"), "number": ("whole", "number")}
    if wanted.kind in matches.get(trap.kind, ()):
        return f"must be {wanted.phrase} (got {shown}): write {trap.other}"
    if wanted.kind == "duration" and trap.kind == "base60" and trap.text.count(":") == 1:
        one, two = trap.text.split(":")
        return f"must be {wanted.phrase} (got {shown}): did you mean {one}h{two}m or {one}m{two}s?"
    return f"must be {wanted.phrase} (got {shown})"


def _always(trap: Trap) -> str | None:
    """The words for traps that are the same wherever they stand."""
    if trap.kind == "key":
        return f"keys must be text: put it in quotes: {show_text(trap.text)}"
    if trap.kind == "merge":
        return "merging with << is not supported: write the keys out"
    if trap.kind == "tag":
        return f"tags are not allowed, remove {show_text(trap.text)}: a job file holds plain values only"
    if trap.kind == "object":
        return f"must be text, a number, true, false, a list or a mapping (got {trap.text})"
    if trap.kind == "characters":
        return f"holds {trap.other}, a character that cannot be stored: remove it"
    return None


def _taken_for(trap: Trap) -> str:
    taken = {"truth": trap.other, "date": "a date", "octal": "a number", "number": trap.other}.get(trap.kind)
    if trap.kind == "base60":
        taken = "a number of minutes and seconds"
    return f" (without, some YAML readers take it for {taken})" if taken else ""
