"""The same splits to scikit-learn."""

from __future__ import annotations

import warnings

import torch

from dlcluster.api import load
from dlcluster.data.load import load_data
from tests.repro.run import ROOT, data_path


def scikit_learn_accuracy(job: str, fold: int) -> tuple[float, int]:
    """Trains an MLPClassifier of the same size, else with its own defaults, on what the job trains on.

    Args:
        job: File in ``jobs/``.
        fold: Which fold is tested on.

    Returns:
        Its accuracy on the test split, and the split's size.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    spec = load(
        ROOT / "jobs" / f"{job}.yaml", overrides=[f"data.path={data_path(job)}", f"data.split.fold={fold}"], folder=ROOT
    )
    splits = load_data(spec.data).splits
    x, y = splits["train"].gather(torch.arange(len(splits["train"])))
    test_x, test_y = splits["test"].gather(torch.arange(len(splits["test"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPClassifier((64, 64), max_iter=500, random_state=0).fit(x.numpy(), y.numpy())
    return float(model.score(test_x.numpy(), test_y.numpy())), len(test_y)


def repeat_as_published() -> float:
    """Mean squared error of persistence over the test windows that LTSF-Linear's loader keeps.

    It drops the last batch of 32 unless it is full (``drop_last=True`` in its data_provider/data_factory.py), and
    with it the last of the 2,785 windows.
    """
    spec = load(ROOT / "jobs" / "etth1-persistence.yaml", overrides=[f"data.path={data_path('etth1')}"], folder=ROOT)
    data = load_data(spec.data)
    test = data.splits["test"]
    x, y = test.gather(torch.arange(len(test) // 32 * 32))
    assert data.baseline is not None
    return float((data.baseline(x) - y).double().square().mean())
