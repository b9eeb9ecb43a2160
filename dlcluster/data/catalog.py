"""The data sets by name and the parameters of each task, known without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FILES = Path(__file__).parent / "files"


class ForecastParams(BaseModel):
    """How a series becomes windows: ``data.params`` of a forecast."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    window: int = Field(ge=1, description="Steps the model reads")
    horizon: int = Field(1, ge=1, description="Steps ahead the model predicts")
    columns: list[str] | None = Field(None, description="Columns the model reads; default all numeric ones")
    target: list[str] | None = Field(None, description="Columns it predicts; default all that it reads")
    time_column: str | None = Field(None, description="Column with the time; default a first column of dates")
    missing: Literal["interpolate", "forward_fill", "mean"] | None = Field(
        None, description="How missing values are filled, within each split; without a rule they are an error"
    )
    scale: Literal["standard", "minmax", "none"] = Field("standard", description="Scaling, fitted on train only")
    center: Literal["last"] | None = Field(
        None,
        description="last: subtract each window's last value, so that a trend does not leave the range seen",
    )


@dataclass(frozen=True)
class DataEntry:
    """One data set a job file can name.

    Attributes:
        name: As written in ``data.name``.
        file: Where it lies, as part of this package.
        task: What it is usually used for.
        summary: One line for ``dlcluster datasets``.
        source: Where it comes from, and under which terms.
    """

    name: str
    file: Path
    task: str
    summary: str
    source: str


DATASETS: Mapping[str, DataEntry] = {
    entry.name: entry
    for entry in (
        DataEntry(
            "co2",
            FILES / "co2.csv",
            "forecast",
            "Weekly atmospheric CO2 at Mauna Loa 1958-2001, 2,284 weeks, 59 of them missing (ppmv)",
            "Keeling & Whorf 2004, Scripps CO2 program, as kept in statsmodels; public domain",
        ),
    )
}

TASKS = ("forecast", "classification", "regression")
"""What a model can be trained for."""
