"""Losses and metrics: each beside scikit-learn or a formula, the same however samples are cut up."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlcluster.data.batches import DatasetSamples, TensorSamples
from dlcluster.data.prepared import Prepared
from dlcluster.errors import ComponentError
from dlcluster.spec.training import Training
from dlcluster.training import metrics as further
from dlcluster.training.metrics import Further, further_metrics
from dlcluster.training.objective import CrossEntropy, Objective, class_counts, make_objective
from dlcluster.training.ranks import Ranks

Pair = tuple[Tensor, Tensor]


def classified(count: int = 203, classes: int = 4, seed: int = 0) -> Pair:
    """Scores that know a little, and uneven classes."""
    generator = np.random.default_rng(seed)
    y = generator.choice(classes, count, p=np.array([8, 4, 2, 1][:classes]) / sum([8, 4, 2, 1][:classes]))
    scores = generator.normal(size=(count, classes)) + 1.5 * np.eye(classes)[y]
    return torch.from_numpy(scores).float(), torch.from_numpy(y)


def prepared(task: str, y: Tensor, **more: Any) -> Prepared:
    x = torch.zeros(len(y), 1)
    splits = {"train": TensorSamples(x, y), "validation": TensorSamples(x, y), "test": TensorSamples(x, y)}
    shape = more.pop("output_shape", tuple(y.shape[1:]))
    return Prepared(task, splits, (1,), shape, **more)


def of_classes(y: Tensor, classes: int = 4, **more: Any) -> Prepared:
    return prepared("classification", y, output_shape=(classes,), num_classes=classes, **more)


def measured(objective: Objective, prediction: Tensor, target: Tensor, size: int) -> dict[str, float]:
    parts = zip(prediction.split(size), target.split(size), strict=True)  # type: ignore[no-untyped-call]
    return objective.metrics(sum((objective.sums(*part) for part in parts), torch.tensor(0.0)), "test")


def in_batches(objective: Objective, pair: Pair, expected: dict[str, float]) -> None:
    for size in (1, 7, 64, 10_000):
        assert measured(objective, *pair, size) == pytest.approx(expected, rel=1e-5)


def test_classification_is_as_scikit_learn_says() -> None:
    from sklearn.metrics import accuracy_score, log_loss

    scores, y = classified()
    expected = {
        "test_loss": log_loss(y, scores.double().softmax(-1).numpy()),
        "test_accuracy": accuracy_score(y, scores.argmax(-1)),
    }
    in_batches(make_objective(Training(), of_classes(y)), (scores, y), expected)


@pytest.mark.parametrize("given", ["balanced", [1.0, 2.0, 4.0, 8.0], [0.1, 0.1, 0.1, 0.1]])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_keep_the_size_of_the_loss_and_add_up(given: Any, smoothing: float) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    scores, y = classified()
    if given == "balanced":
        weights = compute_class_weight("balanced", classes=np.arange(4), y=y.numpy())
    else:
        weights = np.array(given) / np.array(given)[y].mean()
    assert weights[y].mean() == pytest.approx(1.0)
    objective = make_objective(Training(class_weights=given, label_smoothing=smoothing), of_classes(y))
    assert isinstance(objective.loss, CrossEntropy)
    assert objective.loss.weights is not None
    np.testing.assert_allclose(objective.loss.weights, weights, rtol=1e-6)
    # By hand: the target spread over all classes, each class with its weight.
    target = (1 - smoothing) * np.eye(4)[y] + smoothing / 4
    each = -(target * weights * scores.double().log_softmax(-1).numpy()).sum(axis=1)
    accuracy = float((scores.argmax(-1) == y).double().mean())
    in_batches(objective, (scores, y), {"test_loss": each.mean(), "test_accuracy": accuracy})
    # torch's own mean is over weights; over all samples at once it is the same, since the mean weight is 1.
    torchs = nn.functional.cross_entropy(scores, y, torch.tensor(weights).float(), label_smoothing=smoothing)
    assert objective.loss(scores, y).item() == pytest.approx(torchs.item(), rel=1e-5)


def test_classes_are_counted_the_same_in_a_data_set_of_any_kind() -> None:
    y = torch.arange(9001) % 3

    class Items:
        def __len__(self) -> int:
            return len(y)

        def __getitem__(self, index: int) -> Pair:
            return torch.zeros(1), y[index]

    counted = [class_counts(samples, 5).tolist() for samples in (TensorSamples(y, y), DatasetSamples(Items()))]
    assert counted == [[3001, 3000, 3000, 0, 0]] * 2


def test_a_class_that_train_lacks_has_weight_one() -> None:
    objective = make_objective(Training(class_weights="balanced"), of_classes(torch.tensor([0, 0, 0, 2]), 3))
    assert isinstance(objective.loss, CrossEntropy)
    assert objective.loss.weights is not None
    assert objective.loss.weights.tolist() == pytest.approx([4 / 6, 1.0, 2.0])


@pytest.mark.parametrize("weights", [None, [1.0, 3.0]])
def test_binary_cross_entropy_is_that_of_the_second_class(weights: Any) -> None:
    scores, y = classified(classes=2)
    data = of_classes(y, 2)
    binary = make_objective(Training(loss="bce", class_weights=weights), data).loss
    both = make_objective(Training(class_weights=weights), data).loss
    share = (scores[:, 1] - scores[:, 0]).sigmoid()
    each = -torch.where(y == 1, share.log(), (1 - share).log())
    weighted = each if weights is None else each * torch.tensor(weights)[y] / torch.tensor(weights)[y].mean()
    assert [binary(scores, y).item(), both(scores, y).item()] == pytest.approx([weighted.mean().item()] * 2, rel=1e-5)


def test_half_precision_scores_are_fine() -> None:
    scores, y = classified()
    loss = make_objective(Training(class_weights="balanced"), of_classes(y)).loss
    assert loss(scores.bfloat16(), y).item() == pytest.approx(loss(scores, y).item(), rel=0.02)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("scale", [None, [2.0, 5.0]])
def test_forecast_losses_and_metrics(loss: Any, scale: Any) -> None:
    torch.manual_seed(0)
    prediction, y = torch.randn(50, 3, 2), torch.randn(50, 3, 2)
    error = (prediction - y).double()
    expected = {
        "mse": error.square().mean(),
        "mae": error.abs().mean(),
        "huber": torch.where(error.abs() < 1, error.square() / 2, error.abs() - 0.5).mean(),
    }
    found = {"test_loss": expected[loss].item()}
    scaled = {"test_mae": expected["mae"].item(), "test_rmse": expected["mse"].sqrt().item()}
    if scale is None:
        found |= scaled
    else:
        own = error * torch.tensor(scale)
        found |= {"test_mae": own.abs().mean().item(), "test_rmse": own.square().mean().sqrt().item()}
        found |= {name.replace("test_", "test_scaled_"): value for name, value in scaled.items()}
    data = prepared("forecast", y, unit_scale=None if scale is None else torch.tensor(scale))
    in_batches(make_objective(Training(loss=loss), data), (prediction, y), found)


def test_perplexity_is_of_the_whole_split_and_of_the_bare_text() -> None:
    torch.manual_seed(0)
    scores, y = torch.randn(23, 6, 11), torch.randint(11, (23, 6))
    nats = nn.functional.cross_entropy(scores.double().flatten(0, 1), y.flatten()).item()
    accuracy = (scores.argmax(-1) == y).double().mean().item()
    data = prepared("language_model", y, output_shape=(6, 11), num_tokens=11)
    expected = {"test_loss": nats, "test_accuracy": accuracy, "test_perplexity": math.exp(nats)}
    in_batches(make_objective(Training(), data), (scores, y), expected)
    smoothed = nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten(), label_smoothing=0.3).item()
    in_batches(make_objective(Training(label_smoothing=0.3), data), (scores, y), {**expected, "test_loss": smoothed})
    far = make_objective(Training(), data).metrics(torch.tensor([1.0, 1e6, 0.0]), "test")
    assert far["test_perplexity"] == math.inf


def test_generation_measures_the_models_own_losses_only() -> None:
    data = prepared("generation", torch.zeros(3))
    objective = make_objective(Training(), data)
    assert (objective.names, objective.further) == (["samples", "loss"], ())
    assert objective.metrics(torch.tensor([2.0, 3.0]), "train") == {"train_loss": 1.5}
    with pytest.raises(ComponentError) as caught:
        objective.loss(torch.zeros(1), torch.zeros(1))
    assert str(caught.value) == "a model for generation brings its own loss: it needs a training_step"


class Scaled(nn.Module):
    """A loss of a user's own, with a tensor in it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).mean() * self.get_buffer("scale")


def test_losses_and_metrics_of_a_users_own() -> None:
    own = "tests.training.test_objective:Scaled"
    y = torch.arange(10.0).reshape(-1, 1)
    objective = make_objective(Training(loss=own, metrics=[own, "r2", "mae"]), prepared("regression", y))
    assert objective.further == ("r2",)
    found = measured(objective, y + 1, y, 4)
    assert found == pytest.approx({"test_loss": 2.0, "test_Scaled": 2.0, "test_mae": 1.0, "test_rmse": 1.0})


def test_everything_moves_to_a_device() -> None:
    meta = torch.device("meta")
    own = "tests.training.test_objective:Scaled"
    data = prepared("regression", torch.zeros(3, 1), unit_scale=torch.ones(1))
    moved: Any = make_objective(Training(loss=own, metrics=[own]), data).to(meta)
    assert [moved.loss.scale.device, moved.own["Scaled"].scale.device, moved.unit_scale.device] == [meta] * 3
    weighted: Any = make_objective(Training(class_weights="balanced"), of_classes(torch.tensor([0, 1]), 2)).to(meta)
    assert weighted.loss.weights.device == meta


WRONG: list[tuple[dict[str, Any], Prepared, str]] = [
    (
        {"loss": "mse"},
        of_classes(torch.tensor([0, 1])),
        "training.loss: mse does not fit the task classification; one of: cross_entropy, bce; "
        "your own as package.module:function",
    ),
    (
        {"loss": "bce"},
        of_classes(torch.tensor([0, 1, 2]), 3),
        "training.loss: bce is for two classes, the data has 3; write cross_entropy",
    ),
    (
        {"class_weights": [1.0, 2.0]},
        of_classes(torch.tensor([0, 1, 2]), 3, class_names=("a", "b", "c")),
        "training.class_weights: must be one for each of the 3 classes (a, b, c), got 2",
    ),
    (
        {"class_weights": "balanced"},
        prepared("regression", torch.zeros(3, 1)),
        "training.class_weights: is for the task classification, not for regression: remove it",
    ),
    (
        {"label_smoothing": 0.1, "loss": "tests.training.test_objective:Scaled"},
        of_classes(torch.tensor([0, 1]), 2),
        "training.label_smoothing: is for the loss cross_entropy, not for tests.training.test_objective:Scaled: "
        "remove it",
    ),
    (
        {"metrics": ["f1", "r2"]},
        of_classes(torch.tensor([0, 1]), 2),
        "training.metrics.1: r2 does not fit the task classification; one of: accuracy, f1, precision, recall, auroc; "
        "your own as package.module:function",
    ),
    (
        {"metrics": ["r2", "mape"]},
        prepared("forecast", torch.zeros(3, 2, 1), unit_scale=torch.ones(1)),
        "training.metrics: mape needs values in the data's own units, and windows centred on their last value have "
        "none: remove mape, or data.params.center",
    ),
    (
        {"loss": "tests.training.test_objective:WRONG"},
        prepared("regression", torch.zeros(3, 1)),
        "loss tests.training.test_objective:WRONG is a list, not a function (prediction, target) -> scalar",
    ),
]


@pytest.mark.parametrize(("training", "data", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_what_does_not_fit_is_said(training: dict[str, Any], data: Prepared, message: str) -> None:
    with pytest.raises(ComponentError) as caught:
        make_objective(Training(**training), data)
    assert str(caught.value) == message


class Meeting:
    """Where threads that play ranks hand each other what they have."""

    def __init__(self, world: int) -> None:
        self.values: list[Any] = [None] * world
        self.barrier = threading.Barrier(world, timeout=60)

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = value
        self.barrier.wait()
        seen = list(self.values)
        self.barrier.wait()
        return seen


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    """A rank that is a thread."""

    meeting: Meeting | None = None

    def sum(self, values: Tensor) -> Tensor:
        assert self.meeting is not None
        total = sum(self.meeting.exchange(self.rank, values.clone()))
        assert isinstance(total, Tensor)
        return values.copy_(total)

    def gather(self, value: Any) -> list[Any]:
        assert self.meeting is not None
        seen = self.meeting.exchange(self.rank, value)
        return seen if self.leads else [None] * self.world

    def decide(self, decision: Callable[[], Any]) -> Any:
        assert self.meeting is not None
        return self.meeting.exchange(self.rank, decision() if self.leads else None)[0]


def over_ranks(
    data: Prepared, pair: Pair, cuts: list[int], names: list[str] | None = None
) -> tuple[dict[str, float], list[list[int]] | None]:
    """Further metrics, each rank with its part in batches of seven; all ranks must say the same."""
    names, world = further_metrics(data) if names is None else names, len(cuts) + 1
    meeting, found = Meeting(world), [{}] * world  # type: ignore[var-annotated]
    confusion: list[Any] = [None]

    def on_rank(rank: int, part: Pair) -> None:
        ranks = Ranks() if world == 1 else ThreadRanks(rank, world, meeting=meeting)
        metrics = Further(names, data, samples=len(pair[0]), device=ranks.device)
        for prediction, target in zip(part[0].split(7), part[1].split(7), strict=True):  # type: ignore[no-untyped-call]
            if len(target):
                metrics.update(prediction, target)
        found[rank] = metrics.compute(ranks, "test")
        if rank == 0:
            confusion[0] = metrics.confusion

    parts = zip(pair[0].tensor_split(cuts), pair[1].tensor_split(cuts), strict=True)
    threads = [threading.Thread(target=on_rank, args=each) for each in enumerate(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for other in found[1:]:
        assert str(other) == str(found[0])
    return found[0], confusion[0]


CUTS = [[], [100], [0, 50], [3, 3, 200]]  # with ranks that have nothing


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("narrow", [False, True])
def test_further_metrics_of_classes_are_scikit_learns(cuts: list[int], classes: int, narrow: bool) -> None:
    from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score, roc_auc_score

    scores, y = classified(classes=classes)
    if narrow:  # scores that look like shares, and are none
        scores = (scores - scores.min()) / (scores.max() - scores.min())
    found, confusion = over_ranks(of_classes(y, classes), (scores, y), cuts)
    guess, shares = scores.argmax(-1).numpy(), scores.softmax(-1).numpy()
    auroc = roc_auc_score(y, shares[:, 1]) if classes == 2 else roc_auc_score(y, shares, multi_class="ovr")
    assert found == pytest.approx(
        {
            "test_f1": f1_score(y, guess, average="macro"),
            "test_precision": precision_score(y, guess, average="macro"),
            "test_recall": recall_score(y, guess, average="macro"),
            "test_auroc": auroc,
        },
        rel=1e-6,
    )
    assert confusion == confusion_matrix(y, guess).tolist()


@pytest.mark.parametrize("cuts", CUTS[:2], ids=str)
def test_a_class_that_is_not_there_is_left_out(cuts: list[int]) -> None:
    from sklearn.metrics import f1_score, recall_score, roc_auc_score

    scores, y = classified()
    scores, y = scores[y != 2], y[y != 2]
    scores[:, 2] = -100.0  # nor predicted
    found, confusion = over_ranks(of_classes(y), (scores, y), cuts)
    guess, shares = scores.argmax(-1).numpy(), scores.softmax(-1).numpy()
    assert found["test_auroc"] == pytest.approx(
        np.mean([roc_auc_score(y == each, shares[:, each]) for each in (0, 1, 3)]), rel=1e-6
    )
    assert found["test_f1"] == pytest.approx(f1_score(y, guess, average="macro"), rel=1e-6)
    assert found["test_recall"] == pytest.approx(recall_score(y, guess, average="macro"), rel=1e-6)
    assert confusion is not None
    assert confusion[2] == [0, 0, 0, 0]


def test_of_one_class_alone_there_is_no_auroc() -> None:
    scores, _ = classified(20)
    found, _ = over_ranks(of_classes(torch.zeros(20, dtype=torch.long)), (scores, torch.zeros(20).long()), [])
    assert math.isnan(found["test_auroc"])
    assert 0 < found["test_f1"] < 1


@pytest.mark.parametrize("cuts", [[], [90]], ids=str)
def test_beyond_a_million_scores_auroc_is_binned(cuts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import roc_auc_score

    monkeypatch.setattr(further, "MOST_SCORES", 203 * 4 - 1)
    scores, y = classified()
    found, _ = over_ranks(of_classes(y), (scores, y), cuts, ["auroc"])
    exact = roc_auc_score(y, scores.softmax(-1).numpy(), multi_class="ovr")
    assert found == {"test_auroc": pytest.approx(exact, abs=2e-3)}
    assert found["test_auroc"] != pytest.approx(exact, rel=1e-6)  # or it was exact after all


def test_a_confusion_matrix_of_very_many_classes_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(further, "MOST_CLASSES", 3)
    scores, y = classified()
    assert over_ranks(of_classes(y), (scores, y), [], ["f1"])[1] is None


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("size", [1.0, 1e-6, 1e6])
def test_further_metrics_of_values_are_scikit_learns_in_their_own_units(cuts: list[int], size: float) -> None:
    from sklearn.metrics import mean_absolute_percentage_error, mean_squared_error, r2_score

    generator = np.random.default_rng(0)
    y, noise = generator.normal(size=(203, 3, 2)), generator.normal(size=(203, 3, 2))
    guess = y + 0.3 * noise
    scale, shift = np.array([2.0, 5.0]) * size, np.array([30.0, -40.0]) * size
    tensors = (torch.from_numpy(guess).float(), torch.from_numpy(y).float())
    data = prepared(
        "forecast", tensors[1], unit_scale=torch.tensor(scale).float(), unit_shift=torch.tensor(shift).float()
    )
    found, confusion = over_ranks(data, tensors, cuts)
    flat = [(each * scale + shift).reshape(-1, 2) for each in (y, guess)]
    assert found == pytest.approx(
        {
            "test_mse": mean_squared_error(*flat),
            "test_mape": mean_absolute_percentage_error(*flat),
            "test_r2": r2_score(*flat),
        },
        rel=1e-5,
    )
    assert confusion is None


def test_values_that_were_never_scaled() -> None:
    from sklearn.metrics import mean_absolute_percentage_error, r2_score

    y = torch.tensor([[1.0], [2.0], [4.0], [1e5]])
    found, _ = over_ranks(prepared("regression", y), (y * 1.1, y), [2])
    assert found["test_mape"] == pytest.approx(mean_absolute_percentage_error(y, y * 1.1))
    assert found["test_r2"] == pytest.approx(r2_score(y, y * 1.1))
    bare = prepared("regression", y[:, 0])  # one number a sample, no channel
    assert over_ranks(bare, (y[:, 0] * 1.1, y[:, 0]), [2])[0] == pytest.approx(found)


def test_a_constant_target_has_the_score_scikit_learn_gives_it() -> None:
    from sklearn.metrics import r2_score

    y = torch.full((5, 1), 7.3)
    for guess in (y, y + 0.1):
        found, _ = over_ranks(prepared("regression", y), (guess, y), [])
        assert found["test_r2"] == r2_score(y, guess)
    alone, _ = over_ranks(prepared("regression", y[:1]), (y[:1], y[:1]), [])
    assert math.isnan(alone["test_r2"])


def test_centred_windows_have_no_percentages() -> None:
    y = torch.randn(5, 3, 2)
    assert further_metrics(prepared("forecast", y, unit_scale=torch.ones(2))) == ["mse", "r2"]
    assert further_metrics(prepared("forecast", y)) == ["mse", "mape", "r2"]


def test_what_is_measured_when() -> None:
    _, y = classified()
    device = torch.device("cpu")

    def names(metrics: list[str], data: Prepared, *, final: bool) -> list[str] | None:
        made = make_objective(Training(metrics=metrics), data).further_for(len(y), device, final=final)
        if made is None:
            return None
        made.update(torch.rand(len(y), *data.output_shape), data.splits["test"].gather(torch.arange(len(y)))[1])
        return list(made.compute(Ranks(), "test"))

    assert names([], of_classes(y), final=False) is None
    assert names(["accuracy"], of_classes(y), final=False) is None
    assert names(["f1"], of_classes(y), final=False) == ["test_f1"]
    assert names([], of_classes(y), final=True) == ["test_f1", "test_precision", "test_recall", "test_auroc"]
    values = prepared("regression", y[:, None].float())
    assert names(["r2"], values, final=False) == ["test_r2"]
    assert names([], values, final=True) == ["test_mse", "test_mape", "test_r2"]
    words = prepared("language_model", y[:, None], output_shape=(1, 4), num_tokens=4)
    assert names(["perplexity"], words, final=True) is None
    assert Objective("regression", nn.functional.mse_loss, {}).further_for(3, device, final=True) is None


def test_what_needs_no_torchmetrics_does_not_load_it() -> None:
    code = (
        "import sys, torch\n"
        "from tests.training.test_objective import Further, Ranks, prepared, of_classes, make_objective, Training\n"
        "y = torch.zeros(4, 1)\n"
        "further = Further(['mse', 'mape', 'r2'], prepared('regression', y), samples=4, device=y.device)\n"
        "further.update(y, y)\n"
        "further.compute(Ranks(), 'test')\n"
        "make_objective(Training(metrics=['f1']), of_classes(torch.tensor([0, 1])))\n"
        "print([name for name in ('torchmetrics', 'sklearn', 'scipy') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout == "[]\n"
