"""What came of a run: its trials with what they were measured to be, beside what anybody could predict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlcluster.store.tables import files, table

if TYPE_CHECKING:
    from dlcluster.store.objects import Objects
    from dlcluster.store.read import RunView


@dataclass(frozen=True)
class Comparison:
    """One measurement on the test split.

    Attributes:
        metric: Such as ``test_rmse``.
        value: What the model reached.
        baseline: What the baseline reached, or None.
    """

    metric: str
    value: float
    baseline: float | None


def trial_rows(objects: Objects, run_id: str) -> list[dict[str, Any]]:
    """Returns a run's trials as plain rows, with metrics and parameters as dictionaries."""
    rows = [_plain(row) for row in table(objects, "trials", run_id).to_pylist()]
    return [{**row, "params": json.loads(row["params"]) if row["params"] else None} for row in rows]


def epoch_rows(objects: Objects, run_id: str) -> list[dict[str, Any]]:
    """Returns a run's epochs as plain rows, in order."""
    rows = [_plain(row) for row in table(objects, "epochs", run_id).to_pylist()]
    return sorted(rows, key=lambda row: (row["trial_id"], row["epoch"]))


def attempt_rows(objects: Objects, run_id: str) -> list[dict[str, Any]]:
    """Returns a run's attempts as plain rows, in order."""
    rows = table(objects, "attempts", run_id).to_pylist()
    return sorted(rows, key=lambda row: (row["trial_id"], row["fence"], row["attempt"]))


def planned_epochs(view: RunView) -> int | None:
    """Returns how many epochs a run's job asks for."""
    spec = view.fence.job if view.fence is not None else json.loads(view.run.get("spec") or "{}")
    planned = (spec.get("training") or {}).get("epochs")
    return planned if isinstance(planned, int) else None


def done_epochs(view: RunView) -> int:
    """Returns how many epochs a run has behind it, as far as is known without reading its rows."""
    under_way = view.progress.epoch if view.progress is not None else 0
    return max(under_way, view.run.get("num_epochs") or 0)


def comparisons(trial: dict[str, Any]) -> list[Comparison]:
    """Lists a trial's test metrics beside the baseline's."""
    baseline = trial["baseline"] or {}
    return [Comparison(name, value, baseline.get(name)) for name, value in sorted((trial["metrics"] or {}).items())]


def results(objects: Objects, view: RunView) -> dict[str, Any]:
    """Gathers what ``dlcluster results`` shows of one run.

    Args:
        objects: The store.
        view: The run.
    """
    return {
        "run_id": view.run_id,
        "name": view.run.get("name"),
        "state": view.state,
        "reason": view.reason,
        "partial": view.partial,
        "trials": trial_rows(objects, view.run_id),
        "epochs": epoch_rows(objects, view.run_id),
        "files": {name: files(objects, name, view.run_id) for name in ("trials", "attempts", "epochs")},
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Arrow hands out maps as lists of pairs."""
    return {key: dict(value) if isinstance(value, list) else value for key, value in row.items()}
