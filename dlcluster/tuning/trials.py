"""What a run has to try: each trial with an identity that says what decides its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcluster.spec import TrainJob


@dataclass(frozen=True)
class Trial:
    """One configuration with one seed.

    Attributes:
        trial_id: Hash of model, data with its fingerprint, training, seed and fold: the same in every run.
        setting_id: The same hash without the seed and the fold.
        seed: Seed of weights, order and dropout.
        fold: Cross-validation fold, or None.
        job: The whole resolved job with this trial's values in it.
    """

    trial_id: str
    setting_id: str
    seed: int
    fold: int | None
    job: TrainJob

    @property
    def params(self) -> dict[str, Any]:
        """What was chosen, as plain data: model parameters and training settings."""
        dumped = self.job.model_dump(mode="json", include={"model", "training"})
        return {"model": dumped["model"], "training": dumped["training"]}


def train_trial(job: TrainJob, fingerprint: str) -> Trial:
    """Returns the only trial of a job of kind ``train``.

    Args:
        job: The resolved job.
        fingerprint: Of its data.
    """
    parts = job.model_dump(mode="json", include={"model", "data", "training"})
    seed = parts["training"].pop("seed")
    setting = [parts["model"], parts["data"], fingerprint, parts["training"]]
    return Trial(trial_id=_digest([*setting, seed, None]), setting_id=_digest(setting), seed=seed, fold=None, job=job)


def _digest(parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
