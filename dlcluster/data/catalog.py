"""The data sets by name, known without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dlcluster.data.kinds import Format

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class DataEntry:
    """One data set a job file can name.

    Attributes:
        name: As written in ``data.name``.
        file: Where it lies, as part of this package.
        format: What the file is.
        task: What it is usually used for.
        summary: One line for ``dlcluster datasets``.
        source: Where it comes from, and under which terms.
    """

    name: str
    file: Path
    format: Format
    task: str
    summary: str
    source: str


DATASETS: Mapping[str, DataEntry] = {
    entry.name: entry
    for entry in (
        DataEntry(
            "co2",
            FILES / "co2.csv",
            "csv",
            "forecast",
            "Weekly atmospheric CO2 at Mauna Loa 1958-2001, 2,284 weeks, 59 of them missing (ppmv)",
            "Keeling & Whorf 2004, Scripps CO2 program, as kept in statsmodels; public domain",
        ),
    )
}
