"""The base of all parts of a job file."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Mode: TypeAlias = Literal["min", "max"]


class Section(BaseModel):
    """Base of all parts of a job: frozen, no unknown keys, no silent conversions, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
