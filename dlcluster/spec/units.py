"""Durations and sizes as people write them: ``90m``, ``1h30m``, ``4GiB``."""

from __future__ import annotations

import re
from typing import Any

_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?=[0-9.])" + "".join(rf"(?:([0-9]+(?:\.[0-9]+)?){unit} ?)?" for unit in _SECONDS))
_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
_LONGEST = 3_650 * 86_400.0  # ten years: more is a slip of the finger
_SMALLEST = 2**20
_LARGEST = 2**60
_MAX_TEXT = 40

DURATION_PATTERN = (
    r"^(?=[0-9])([0-9]+(\.[0-9]+)?d ?)?([0-9]+(\.[0-9]+)?h ?)?([0-9]+(\.[0-9]+)?m ?)?([0-9]+(\.[0-9]+)?s)?$"
)
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(B|[KMGT]B|[KMGT]iB)$"


class WrongValueError(ValueError):
    """A value a job cannot have, in words.

    Args:
        problem: What is wrong; the value itself is added by whoever reports it.
        hint: What to write instead.
    """

    def __init__(self, problem: str, hint: str | None = None) -> None:
        super().__init__(f"{problem}: {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint


def is_number(value: object) -> bool:
    """Whether a value is an int or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def duration_seconds(value: Any) -> float:
    """Seconds of a duration such as ``6h``, ``90m``, ``1h30m``, or a plain number of seconds.

    Raises:
        WrongValueError: If it is none, not above zero, or longer than ten years.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip()) if len(value) <= _MAX_TEXT else None
        if match is None:
            raise WrongValueError("must be a duration such as 45s, 90m, 6h or 1h30m")
        parts = zip(match.groups(), _SECONDS.values(), strict=True)
        seconds = sum(float(number) * unit for number, unit in parts if number)
    elif is_number(value):
        seconds = float(value)
    else:
        raise WrongValueError("must be a duration such as 45s, 90m, 6h or 1h30m")
    if not seconds > 0:  # NaN too
        raise WrongValueError("must be more than 0 seconds")
    if seconds > _LONGEST:
        raise WrongValueError("must be at most ten years")
    return seconds


def size_bytes(value: Any) -> int:
    """Bytes of a size such as ``4GiB`` or ``500MB``, or a plain number of bytes.

    Raises:
        WrongValueError: If it is none, or not between 1 MiB and 1 EiB.
    """
    problem = "must be a size such as 512MiB or 4GiB"
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip()) if len(value) <= _MAX_TEXT else None
        if match is None:
            raise WrongValueError(problem)
        number, unit = match.groups()
        if unit not in _BYTES:
            raise WrongValueError(problem, f"did you mean {_near_size(number, unit)}?")
        size = int(float(number) * _BYTES[unit])
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, float):
        raise WrongValueError(f"{problem}, or a whole number of bytes")
    else:
        raise WrongValueError(problem)
    if size < _SMALLEST:
        guess = f"did you mean {size}GiB?" if 0 < size < 1024 and is_number(value) else None
        raise WrongValueError("must be at least 1MiB; a plain number means bytes", guess)
    if size > _LARGEST:
        raise WrongValueError("must be at most 1048576TiB")
    return size


def _near_size(number: str, unit: str) -> str:
    letter = unit[:1].upper()
    return f"{number}{letter}iB" if letter and letter in "KMGT" else f"{number}GiB"
