"""``make repro``: runs the jobs that have a published figure and prints ours beside it.

Arguments name the rows to run, such as ``etth1 iris``; none is all of them. ``DATA`` says where the data lies.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from tests.repro.gan import judge_samples
from tests.repro.reference import repeat_as_published, scikit_learn_accuracy
from tests.repro.run import DATA, STORE, data_path, earlier_run, run_job

FOLDS = 10


@dataclass(frozen=True)
class Result:
    """One figure.

    Attributes:
        job: File in ``jobs/``.
        metric: What is measured.
        ours: Our figure.
        published: The published one, as published.
        source: Where.
        must: What ours has to reach, in words.
        reached: Whether it did.
        seconds: What it took.
    """

    job: str
    metric: str
    ours: float
    published: str
    source: str
    must: str
    reached: bool
    seconds: float = 0.0


def _etth1(job: str) -> list[Result]:
    metrics = run_job(job).trial["metrics"]
    mse, mae = metrics["test_scaled_rmse"] ** 2, metrics["test_scaled_mae"]
    zeng = "Zeng et al. 2023, LTSF-Linear"
    if job == "etth1-persistence":
        theirs, must = repeat_as_published(), "equal to 3 digits"
        return [
            Result(job, "MSE, all 2,785 windows", mse, "-", "-", "within 0.001", abs(mse - 1.295) < 1e-3),
            Result(
                job, "MSE, the 2,784 published", theirs, "1.295", f"{zeng}, Repeat", must, f"{theirs:.3f}" == "1.295"
            ),
            Result(job, "MAE", mae, "0.713", f"{zeng}, Repeat", must, f"{mae:.3f}" == "0.713"),
        ]
    if job == "etth1-nlinear":
        return [
            Result(job, "MSE", mse, "0.374", f"{zeng}, NLinear", "within 2 %", mse <= 0.374 * 1.02),
            Result(job, "MAE", mae, "0.394", f"{zeng}, NLinear", "within 2 %", mae <= 0.394 * 1.02),
        ]
    return [Result(job, "MSE", mse, "-", "-", "<= 0.55", mse <= 0.55)]


def _mnist(job: str, published: str, source: str, must: float) -> list[Result]:
    accuracy = run_job(job).trial["metrics"]["test_accuracy"] * 100
    return [Result(job, "accuracy %", accuracy, published, source, f">= {must}", accuracy >= must)]


def _shakespeare() -> list[Result]:
    loss = min(row["validation_loss"] for row in run_job("shakespeare").epochs)
    return [
        Result(
            "shakespeare", "nats/char", loss, "1.88", "Karpathy, nanoGPT's recipe for a CPU", "<= 1.95", loss <= 1.95
        )
    ]


def _rt_polarity() -> list[Result]:
    folds = [
        run_job("rt-polarity", f"data.split.fold={fold}").trial["metrics"]["test_accuracy"] for fold in range(FOLDS)
    ]
    accuracy = statistics.fmean(folds) * 100
    return [
        Result("rt-polarity", "accuracy %", accuracy, "76.1", "Kim 2014, CNN-rand", ">= 73, 10 folds", accuracy >= 73)
    ]


def _table(job: str) -> list[Result]:
    ours, theirs, samples = 0.0, 0.0, 0
    for fold in range(5):
        overrides = [f"data.split.fold={fold}"]
        accuracy = run_job(job, *overrides).trial["metrics"]["test_accuracy"]
        reference, size = scikit_learn_accuracy(job, fold)
        ours, theirs, samples = ours + accuracy * size, theirs + reference * size, samples + size
    ours, theirs = ours / samples * 100, theirs / samples * 100
    return [
        Result(
            job, "accuracy %", ours, f"{theirs:.1f}", "scikit-learn's MLPClassifier, same folds",
            "at most 1 point below", ours >= theirs - 1,
        )
    ]  # fmt: skip


def _gan() -> list[Result]:
    judge = earlier_run("mnist-cnn") or run_job("mnist-cnn")
    judged = judge_samples(run_job("gan").run_id, judge.run_id)
    accuracy = judge.trial["metrics"]["test_accuracy"] * 100
    return [
        Result("gan", "judge's accuracy %", accuracy, "-", "-", ">= 98.9", accuracy >= 98.9),
        Result("gan", "digits made", judged.digits, "-", "-", "all 10", judged.digits == 10),
        Result("gan", "rarest digit %", judged.rarest * 100, "-", "-", ">= 3", judged.rarest >= 0.03),
        Result("gan", "judged with > .9 %", judged.confident * 100, "-", "-", ">= 50", judged.confident >= 0.5),
        Result("gan", "copies of training pictures", judged.copies, "-", "-", "none", judged.copies == 0),
    ]


ROWS: dict[str, Callable[[], list[Result]]] = {
    "etth1-persistence": lambda: _etth1("etth1-persistence"),
    "etth1-nlinear": lambda: _etth1("etth1-nlinear"),
    "etth1-lstm": lambda: _etth1("etth1-lstm"),
    "etth1-gru": lambda: _etth1("etth1-gru"),
    "iris": lambda: _table("iris"),
    "wine": lambda: _table("wine"),
    "banknote": lambda: _table("banknote"),
    "shakespeare": _shakespeare,
    "mnist-cnn": lambda: _mnist("mnist-cnn", "~99", "Keras's first convolutional example", 98.9),
    "mnist-mlp": lambda: _mnist("mnist-mlp", "98.4", "Simard et al. 2003, in LeCun's table", 97.5),
    "mnist-lstm": lambda: _mnist("mnist-lstm", "-", "-", 97.5),
    "rt-polarity": _rt_polarity,
    "gan": _gan,
}


def main(names: list[str]) -> int:
    """Runs the rows that are named and returns the exit code: 1 when a figure was not reached."""
    chosen = [row for row in ROWS if not names or any(row.startswith(name) for name in names)]
    results: list[Result] = []
    for row in chosen:
        if data_path(row) is None:
            print(f"{row}: skipped, its data is not below {DATA}")
            continue
        began = time.perf_counter()
        found = ROWS[row]()
        seconds = time.perf_counter() - began
        for each in found:
            results.append(each)
            mark = "ok" if each.reached else "NOT REACHED"
            print(
                f"{each.job:18} {each.metric:28} ours {each.ours:8.4g}  published {each.published:>6}  must {each.must}"
                f"  {mark}  ({each.source}; {seconds:.0f} s)",
                flush=True,
            )
    STORE.mkdir(exist_ok=True)
    (STORE / "repro.json").write_text(json.dumps([asdict(each) for each in results], indent=1))
    return 0 if all(each.reached for each in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
