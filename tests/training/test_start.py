"""A run that begins with the weights of another, and what is kept of a trained model."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

import dlcluster
from dlcluster.errors import ComponentError, RunEnded
from dlcluster.results.summary import trial_rows
from dlcluster.store.objects import open_objects
from dlcluster.training.fit import check_shapes
from dlcluster.training.grids import grid_png
from dlcluster.training.reload import load_model
from dlcluster.training.start import load_weights
from tests.training.helpers import make_job, make_training

Store = tuple[str, str]


def job(**sections: Any) -> dict[str, Any]:
    """A small job as a mapping, with some sections replaced."""
    return {**make_job(epochs=1).model_dump(mode="json"), **sections}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a trained run, and the run's id."""
    store = str(tmp_path_factory.mktemp("store"))
    export = {"torch_export": True, "prune": 0.5, "quantize": "int8"}
    return store, dlcluster.submit(job(export=export), storage=store, local=True).run_id


def weights(store: str, run_id: str) -> dict[str, torch.Tensor]:
    """The stored weights of a run."""
    (path,) = Path(store).glob(f"v1/models/{run_id}/f1/*/model.safetensors")
    return load(path.read_bytes())


def test_a_run_begins_with_anothers_weights_and_keeps_what_is_frozen(trained: Store) -> None:
    store, first = trained
    lines: list[str] = []
    model = {"name": "lstm", "params": {"hidden_size": 8}, "init_from": first, "freeze": ["lstm.*"]}
    second = dlcluster.submit(job(model=model), storage=store, local=True, say=lines.append).run_id
    before, after = weights(store, first), weights(store, second)
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert same == {name: name.startswith("lstm.") for name in before}
    assert f"began with 6 of 6 weights from {first}" in lines


def test_what_does_not_fit_begins_anew_and_is_named(trained: Store) -> None:
    store, first = trained
    config = job()
    config["data"]["params"]["horizon"] = 5
    other = make_training(dlcluster.api.load(config))[2].model
    fresh = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    lines = load_weights(other, open_objects(store), first)
    assert lines == [
        f"began with 4 of 6 weights from {first}",
        "  head.weight (5, 8) begins anew: it is (3, 8) there",
        "  head.bias (5,) begins anew: it is (3,) there",
    ]
    stored = weights(store, first)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name.startswith("head") else stored[name])


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            "20200101-000000-none-0000",
            "model.init_from: run 20200101-000000-none-0000: there is no such run in this store, or it has not ended",
        ),
        ("some/where", "model.init_from: some/where: is no model's uri"),
    ],
)
def test_a_start_that_is_not_there_is_said(trained: Store, named: str, message: str) -> None:
    store, _ = trained
    model = {"name": "lstm", "params": {"hidden_size": 8}, "init_from": named}
    run = dlcluster.submit(job(model=model), storage=store, local=True)
    with pytest.raises(RunEnded) as caught:
        run.wait()
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_weights_of_another_model_are_refused_with_both_named(trained: Store) -> None:
    store, first = trained
    other = make_training(dlcluster.api.load(job(model={"name": "mlp", "params": {"hidden": [4]}})))[2].model
    with pytest.raises(ComponentError) as caught:
        load_weights(other, open_objects(store), first)
    assert caught.value.message.startswith(
        f"model.init_from: {first}: is of another model: no weight fits (it is lstm with head.bias, head.weight, "
    )


def test_a_stored_model_is_made_again_with_its_preparation(trained: Store) -> None:
    store, first = trained
    stored = load_model(open_objects(store), first)
    data, _, training = make_training(make_job(epochs=1))
    training.model.load_state_dict(weights(store, first))
    x, _ = data.splits["test"].gather(torch.arange(5))
    assert torch.equal(stored.model(x), training.model.eval()(x))
    assert stored.preparation == data.preparation
    by_uri = trial_rows(open_objects(store), first)[0]["model_uri"]
    assert torch.equal(load_model(open_objects(store), by_uri).model(x), stored.model(x))


def test_exports_are_kept_and_measured(trained: Store) -> None:
    store, first = trained
    (folder,) = Path(store).glob(f"v1/models/{first}/f1/*")
    report = json.loads((folder / "export.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "export.json", "model.pt2", "model.safetensors", "pruned.safetensors", "quantized.pt",
    ]  # fmt: skip
    assert report["weights"] == "the same, bit by bit"
    assert report["torch_export"] == {"max_difference": 0.0, "reason": None}
    tested = trial_rows(open_objects(store), first)[0]["test_loss"]
    for name in ("prune", "quantize"):
        assert report[name]["before"]["metrics"]["test_loss"] == pytest.approx(tested)
    assert report["prune"]["after"]["zeros"] == pytest.approx(0.5, abs=0.01)
    assert report["quantize"]["left_as_they_were"] == ["lstm (LSTM)"]
    program = torch.export.load(io.BytesIO((folder / "model.pt2").read_bytes())).module()
    x = torch.randn(7, 12, 1)
    assert torch.equal(program(x), load_model(open_objects(store), first).model(x))


def test_a_generating_task_needs_a_model_that_generates() -> None:
    data, objective, training = make_training(make_job())
    generating = data.__class__(**{**vars(data), "task": "generation"})
    with pytest.raises(ComponentError, match=r"^model lstm generates nothing\nFor task generation take gan"):
        check_shapes(training.model, generating, objective, "lstm", torch.device("cpu"))


def test_a_grid_is_a_picture_of_all_samples() -> None:
    from PIL import Image

    made = torch.zeros(5, 1, 4, 6)
    made[1] = 0.5
    made[4] = 2.0  # outside of what a picture can show
    picture = torch.tensor(list(Image.open(io.BytesIO(grid_png(made))).tobytes())).view(10, 22)
    expected = torch.full((10, 22), 255)
    for number, value in enumerate((0, 128, 0, 0, 255)):
        top, left = number // 3 * 6, number % 3 * 8
        expected[top : top + 4, left : left + 6] = value
    assert torch.equal(picture, expected)
    colour = Image.open(io.BytesIO(grid_png(torch.rand(2, 3, 4, 4))))
    assert (colour.mode, colour.size) == ("RGB", (10, 4))
