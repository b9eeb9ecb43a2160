"""Steps of every kind: in parts, penalised, clipped, frozen, and a model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from dlcluster.data.batches import epoch_order
from dlcluster.errors import ComponentError
from dlcluster.spec import TrainJob, job_from_dict
from dlcluster.training.build import build_training, freeze
from dlcluster.training.checkpoint import Saver, restore
from dlcluster.training.loop import Hooks, train
from dlcluster.training.ranks import Ranks
from tests.training.helpers import curve, make_job, make_training


def run(job: TrainJob, ranks: Ranks | None = None) -> tuple[list[dict[str, Any]], nn.Module]:
    """The rows of a training and its model."""
    data, objective, training = make_training(job)
    freeze(training.model, job.model.freeze)
    if job.model.freeze:
        training = build_training(job, data, training.model)
    rows: list[dict[str, Any]] = []
    train(job, training, data.splits, objective, ranks or Ranks(), Hooks(report=rows.append), data.augment)
    return rows, training.model


def own_job(model: str = "Pair", **training: Any) -> TrainJob:
    """A job with a model of `own_models`."""
    job = make_job(optimizer={"name": "adam", "learning_rate": 0.01}, **training).model_dump(mode="json")
    return job_from_dict({**job, "model": {"name": f"tests.training.own_models:{model}"}})


def first_step(**training: Any) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """A model before and after one step of sgd at rate 1, and the batch it saw."""
    job = make_job(epochs=1, steps_per_epoch=1, optimizer={"name": "sgd", "learning_rate": 1.0}, **training)
    data, _, before = make_training(job)
    order = epoch_order(len(data.splits["train"]), seed=7, epoch=1)[:32]
    x, y = data.splits["train"].gather(order)
    _, model = run(job)
    return before.model, model, x, y


def test_a_batch_in_parts_gives_the_gradient_of_the_whole() -> None:
    settings: dict[str, Any] = {"gradient_clip": 1.0, "l1": 1e-3}
    whole, model = run(make_job(**settings))
    for parts in (2, 5, 32):
        rows, other = run(make_job(gradient_accumulation=parts, **settings))
        for ours, theirs in zip(curve(rows), curve(whole), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)
        for own, old in zip(other.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(own, old, rtol=1e-3, atol=1e-5)


def test_an_l1_penalty_is_on_matrices_and_not_in_the_loss_that_is_reported() -> None:
    before, after, x, y = first_step(l1=0.01)
    loss = nn.functional.mse_loss(before(x), y)
    penalty = sum(each.abs().sum() for each in before.parameters() if each.dim() > 1)
    (loss + 0.01 * penalty).backward()  # type: ignore[no-untyped-call]
    for own, old in zip(after.parameters(), before.parameters(), strict=True):
        assert old.grad is not None
        torch.testing.assert_close(own, old - old.grad)
    rows, _ = run(make_job(epochs=1, steps_per_epoch=1, l1=0.01))
    assert rows[0]["train_loss"] == pytest.approx(loss.item())


def test_gradients_are_cut_off_by_value_then_by_norm() -> None:
    before, after, x, y = first_step(gradient_clip_value=0.01, gradient_clip=0.05)
    nn.functional.mse_loss(before(x), y).backward()  # type: ignore[no-untyped-call]
    gradients = [each.grad.clamp(-0.01, 0.01) for each in before.parameters() if each.grad is not None]
    norm = torch.stack([each.norm() for each in gradients]).norm()
    assert norm > 0.05  # or the second would do nothing
    for ours, theirs, gradient in zip(after.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(ours, theirs - gradient * 0.05 / norm, rtol=1e-4, atol=1e-6)


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    job = make_job(epochs=1)
    _, _, fresh = make_training(job)
    job = job_from_dict({**job.model_dump(mode="json"), "model": {**job.model.model_dump(), "freeze": ["lstm.*"]}})
    _, model = run(job)
    same = {
        name: torch.equal(ours, theirs)
        for (name, ours), theirs in zip(model.named_parameters(), fresh.model.parameters(), strict=True)
    }
    assert same == {name: name.startswith("lstm.") for name in same}


def test_frozen_batch_norm_learns_no_statistics() -> None:
    base = make_job(epochs=1).model_dump(mode="json")
    params = {"hidden": [8], "batch_norm": True}
    for pattern, learns in (("*", None), ("layers.1.*", True)):
        job = job_from_dict({**base, "model": {"name": "mlp", "params": params}})
        _, _, training = make_training(job)
        norm = next(each for each in training.model.modules() if isinstance(each, nn.BatchNorm1d))
        name = next(name for name, each in training.model.named_modules() if each is norm)
        if learns is None:
            with pytest.raises(ComponentError, match=r"model.freeze: all parameters are frozen"):
                freeze(training.model, [pattern])
            continue
        frozen = job_from_dict({**base, "model": {"name": "mlp", "params": params, "freeze": [f"{name}.*"]}})
        _, model = run(frozen)
        found = dict(model.named_modules())[name]
        assert isinstance(found, nn.BatchNorm1d)
        assert found.running_mean is not None
        assert not found.running_mean.any()


def test_a_pattern_that_matches_nothing_names_what_is_near() -> None:
    with pytest.raises(ComponentError, match=r"model.freeze.1: no parameter matches 'heda.\*'; there is: head.bias"):
        freeze(make_training(make_job())[2].model, ["head.*", "heda.*"])


def test_an_epoch_may_be_shorter_or_longer_than_the_data() -> None:
    rows, _ = run(make_job(epochs=2, steps_per_epoch=3))
    assert [(row["step"], row["num_samples"]) for row in rows] == [(3, 96), (6, 96)]
    long, _ = run(make_job(epochs=1, steps_per_epoch=20))
    assert [(row["step"], row["num_samples"]) for row in long] == [(20, 640)]
    once = epoch_order(5, seed=1, epoch=2)
    more = epoch_order(5, seed=1, epoch=2, count=12)
    assert torch.equal(more[:5], once)
    assert sorted(more[5:10].tolist()) == list(range(5))
    assert torch.equal(epoch_order(5, seed=1, epoch=2, count=3), once[:3])


def test_a_model_that_learns_nothing_is_only_measured() -> None:
    base = make_job(epochs=1).model_dump(mode="json")
    job = job_from_dict({**base, "model": {"name": "persistence"}})
    data, objective, _ = make_training(job)
    rows, _ = run(job)
    x, y = data.splits["validation"].gather(torch.arange(len(data.splits["validation"])))
    assert data.baseline is not None
    assert rows[0]["validation_loss"] == pytest.approx(objective.loss(data.baseline(x), y).item())


def test_a_models_own_step_is_what_it_would_be_by_hand() -> None:
    job = own_job(epochs=2)
    data, _, training = make_training(job)
    rows, trained = run(job)
    model: Any = training.model
    optimizers = model.configure_optimizers(job.training)
    expected = []
    for epoch in (1, 2):
        sums = {"first_loss": 0.0, "second_loss": 0.0}
        order = epoch_order(len(data.splits["train"]), seed=7, epoch=epoch)
        for batch in order.split(32):  # type: ignore[no-untyped-call]
            for name, loss in model.training_step(data.splits["train"].gather(batch), optimizers).items():
                sums[name] += loss.item() * len(batch)
        expected.append({f"train_{name}": total / len(order) for name, total in sums.items()})
    for row, losses in zip(rows, expected, strict=True):
        assert {name: row["metrics"][name] for name in losses} == pytest.approx(losses, rel=1e-5)
        assert row["train_loss"] == pytest.approx(sum(losses.values()), rel=1e-5)
        assert "validation_loss" in row
    for ours, theirs in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_models_own_training_is_resumed_in_the_middle_of_an_epoch() -> None:
    job = own_job()
    undisturbed, whole = run(job)
    data, objective, first = make_training(job)
    kept: list[bytes] = []
    saver = Saver(lambda epoch, step, state: kept.append(state), min_seconds=1e9)
    now = iter(range(10_000))
    hooks = Hooks(
        report=lambda row: None,
        stop=lambda: "enough" if first.progress.step >= 9 else None,
        saver=saver,
        clock=lambda: 10.0 * next(now),
    )
    train(job, first, data.splits, objective, Ranks(), hooks)
    saver.close()
    assert (first.progress.step, first.progress.step_in_epoch) == (9, 2)
    _, _, second = make_training(job)
    restore(second, kept[-1], rank=0)
    train(job, second, data.splits, objective, Ranks(), Hooks(report=lambda row: None))
    assert curve(second.progress.history) == curve(undisturbed)
    for ours, theirs in zip(second.model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Wordy", "Wordy.training_step returned 'done'"),
        ("Halfway", "model tests.training.own_models:Halfway has a training_step but no configure_optimizers"),
    ],
)
def test_an_own_training_that_lacks_something_is_told_what(model: str, message: str) -> None:
    with pytest.raises(ComponentError) as caught:
        run(own_job(model))
    assert caught.value.message == message


def _on_rank(rank: int, world: int, folder: str, parts: int, own: bool) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    rows, model = run(_uneven(parts, own=own), Ranks(rank, world))
    torch.save((curve(rows), model.state_dict()), f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _uneven(parts: int, *, own: bool) -> TrainJob:
    settings: dict[str, Any] = {"epochs": 2, "global_batch_size": 31}  # two ranks take 15 and 16
    return own_job(**settings) if own else make_job(gradient_accumulation=parts, l1=1e-3, **settings)


@pytest.mark.parametrize(("parts", "own"), [(3, False), (1, True)], ids=["in parts", "own step"])
def test_two_ranks_compute_what_one_does(parts: int, own: bool, tmp_path: Path) -> None:
    alone, model = run(_uneven(parts, own=own))
    mp.spawn(_on_rank, (2, str(tmp_path), parts, own), nprocs=2)  # type: ignore[attr-defined,no-untyped-call]
    together, weights = torch.load(tmp_path / "0.pt", weights_only=True)
    for ours, theirs in zip(together, curve(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-5)
