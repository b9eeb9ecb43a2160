"""Batch jobs for deep learning on Ray: one YAML file, any size, nothing lost.

``dlcluster.submit(job)`` sends a job and returns a ``Run``; ``dlcluster.open(uri)`` opens a store.
Both are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dlcluster.api import Run, open, submit

__all__ = ["Run", "open", "submit", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Run", "open", "submit"):
        from dlcluster import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
