"""What an unquoted YAML word means, and which words YAML readers do not agree on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

TrapKind = Literal[
    "truth",
    "octal",
    "base60",
    "date",
    "number",
    "huge",
    "infinite",
    "characters",
    "tag",
    "merge",
    "key",
    "object",
]


@dataclass(frozen=True)
class Trap:
    """A value that is not taken as it stands.

    Attributes:
        kind: Why not.
        text: As the file has it.
        other: What to write instead, or what other readers take it for.
    """

    kind: TrapKind
    text: str
    other: str = ""


_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OLD_TRUTH = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|[-+]?0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"([-+]?)0(o?)([0-9]+)")
_BINARY = re.compile(r"[-+]?0b_*[01][01_]*")
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?")
_BASE60 = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([Tt]|[ \t]+|$)([0-9:.]*[ \t]*(Z|[-+]\d\d?(:\d\d)?)?)?", re.ASCII)
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")
_LONGEST_NUMBER = 400
LARGEST = 2**63 - 1
SMALLEST = -(2**63)


def read_plain(text: str) -> tuple[Any, Trap | None]:
    """The value of an unquoted word, and the trap it is, if any; a trap's value is the word as text.

    Words that YAML 1.1 and 1.2 read alike are read so (and ``1e-3`` as the number it is). Those they
    read differently (``no``, ``010``, ``1:30``, ``2026-11-21``) are traps: the file has to say which.
    """
    if text in _NULL:
        return None, None
    if text in _TRUTH:
        return _TRUTH[text], None
    if len(text) > _LONGEST_NUMBER:
        return text, check_text(text)
    if _INTEGER.fullmatch(text):
        number = int(text, 16 if "x" in text else 10)
        return (number, None) if SMALLEST <= number <= LARGEST else (text, Trap("huge", text))
    trap = _trap(text)
    if trap is not None:
        return text, trap
    if _FLOAT.fullmatch(text):
        value = float(text)
        return (value, None) if abs(value) != float("inf") else (text, Trap("infinite", text))
    return text, check_text(text)


def check_text(text: str) -> Trap | None:
    """The trap that a text is because of characters that no file or variable can hold."""
    match = _BAD_CHARACTER.search(text)
    return Trap("characters", text, f"U+{ord(match.group()):04X}") if match else None


def _trap(text: str) -> Trap | None:
    if text.lower() in _OLD_TRUTH and text in (text.lower(), text.upper(), text.capitalize()):
        return Trap("truth", text, _OLD_TRUTH[text.lower()])
    if match := _OCTAL.fullmatch(text):
        sign, letter, digits = match.groups()
        eight = str(int(digits, 8)) if set(digits) <= set("01234567") else None
        ten = str(int(digits)) if not letter else None
        return Trap("octal", text, " or ".join(dict.fromkeys(sign + each for each in (eight, ten) if each)))
    if _BINARY.fullmatch(text):
        return Trap("number", text, str(int(text.replace("_", ""), 2)))
    if "_" in text and _GROUPED.fullmatch(text):
        return Trap("number", text, text.replace("_", ""))
    if _BASE60.fullmatch(text):
        return Trap("base60", text)
    if _DATE.fullmatch(text):
        return Trap("date", text)
    if _INFINITE.fullmatch(text):
        return Trap("infinite", text)
    return None
