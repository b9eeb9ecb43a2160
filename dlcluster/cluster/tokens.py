"""Which bearer token goes to a cluster, found where Ray itself looks for it."""

from __future__ import annotations

import os
from pathlib import Path

from dlcluster.errors import UsageError


def find_token() -> str | None:
    """The token for a cluster that is not ours.

    Looked for in ``RAY_AUTH_TOKEN``, then ``RAY_AUTH_TOKEN_PATH``, then ``~/.ray/auth_token``.

    Returns:
        The first one there is, or None.

    Raises:
        UsageError: A place that should hold a token does not hold a usable one.
    """
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return check_token(value, "RAY_AUTH_TOKEN")
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return read_token(Path(named).expanduser(), f"RAY_AUTH_TOKEN_PATH ({named})")
    try:
        default = Path.home() / ".ray" / "auth_token"
        return read_token(default, str(default)) if default.is_file() else None
    except (RuntimeError, PermissionError):  # no home folder, or not ours to look into
        return None


def read_token(path: Path, where: str) -> str:
    """The token in a file.

    Args:
        path: The file.
        where: What to call it in an error.

    Raises:
        UsageError: The file cannot be read or does not hold a token.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"The token in {where} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        text = ""
    return check_token(text, where)


def check_token(text: str, where: str) -> str:
    """The token without the spaces around it; never shown in the error.

    Raises:
        UsageError: It is empty or can't be sent as an HTTP header.
    """
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{where} does not hold a token: one word of printable ASCII is needed.")
    return token
