"""``dlcluster models NAME``: a model's parameters and layers, for any shapes, in every form."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from dlcluster.models.catalog import MODELS
from tests.cli.conftest import Run


def shown(text: str) -> list[list[str]]:
    """Lines as cells: columns are two spaces or more apart."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_a_model_is_shown_with_its_parameters_and_layers(here: Run) -> None:
    ended = here("models", "lstm", "--set", "hidden_size=20", "--set", "model.params.dropout=0.1")
    assert (ended.code, ended.err) == (0, "")
    lines = shown(ended.out)
    assert lines[:3] == [
        ["lstm", "Long short-term memory over a window, a picture's rows or tokens"],
        [
            "reads",
            "series (window, channels), pictures (channels, height, width), texts (tokens,), running text (block,) to "
            "the next tokens (block, num_tokens)",
        ],
        ["source", "Hochreiter & Schmidhuber 1997, Long Short-Term Memory"],
    ]
    assert lines[4:8] == [
        ["parameter", "default", "values", "description"],
        ["hidden_size", "50", "whole number from 1", "Units in each layer"],
        ["num_layers", "1", "whole number from 1", "Layers on top of each other"],
        ["dropout", "0.0", "number from 0 below 1", "Dropout between layers and before the head"],
    ]
    assert lines[-7:] == [
        ["for series (52, 1) to (26, 1), with hidden_size=20, dropout=0.1:"],
        [""],
        ["layer", "type", "output", "parameters"],
        ["lstm", "LSTM", "(52, 20)", "1,840"],
        ["dropout", "Dropout", "(20,)", "0"],
        ["head", "Linear", "(26,)", "546"],
        ["total", "2,386"],
    ]


def test_the_mnist_network_has_its_known_size(here: Run) -> None:
    assert shown(here("models", "cnn").out)[-1] == ["total", "121,930"]


def test_shapes_of_ones_own_data(here: Run) -> None:
    chollet = ("--set", "filters=[32, 64, 128, 128]", "--set", "dense=[512]")
    ended = here("models", "cnn", "--input-shape", "3, 150,150", "--output-shape", "2", *chollet, "-o", "json")
    document = json.loads(ended.out)
    assert list(document) == [
        "name", "summary", "source", "reads", "params", "set", "input_shape", "output_shape", "num_tokens", "layers",
        "num_parameters", "num_trainable",
    ]  # fmt: skip
    assert (document["input_shape"], document["output_shape"]) == ([3, 150, 150], [2])
    assert document["set"] == {"filters": [32, 64, 128, 128], "dense": [512]}
    assert document["num_parameters"] == document["num_trainable"] == 3_453_634
    assert document["params"][0] == {
        "name": "filters",
        "default": [32, 64],
        "values": "list of whole numbers from 1",
        "description": "Filters of each block: convolution, then pooling",
    }
    assert document["layers"][0] == {
        "name": "layers.0",
        "type": "Conv2d",
        "output_shape": [32, 148, 148],
        "num_parameters": 896,
    }
    rows = list(
        csv.DictReader(io.StringIO(here("models", "cnn", *chollet, "--input-shape", "3,150,150", "-o", "csv").out))
    )
    assert rows[0] == {"name": "layers.0", "type": "Conv2d", "output_shape": "[32, 148, 148]", "num_parameters": "896"}
    assert rows[-1]["output_shape"] == "[10]"


@pytest.mark.parametrize(
    ("line", "shapes"),
    [
        ("mlp", "tables (13,) to (3,)"),
        ("cnn", "pictures (1, 28, 28) to (10,)"),
        ("text_cnn", "texts (56,) of 10,000 tokens to (2,)"),
        ("text_cnn --input-shape 20", "texts (20,) of 10,000 tokens to (2,)"),
        ("persistence --input-shape 96,7", "series (96, 7) to (26, 7)"),
        ("gru --input-shape 1,28,28", "pictures (1, 28, 28) to (10,)"),
        ("gru --num-tokens 500", "texts (64,) of 500 tokens to (10,)"),
        (
            "transformer --num-tokens 65 --input-shape 64 --output-shape 64,65",
            "running text (64,) of 65 tokens to (64, 65)",
        ),
        ("gan --input-shape 3,8,8", "pictures (3, 8, 8) to (3, 8, 8)"),
    ],
)
def test_what_is_left_out_is_typical(line: str, shapes: str, here: Run) -> None:
    ended = here("models", *line.split())
    assert (ended.code, ended.err) == (0, "")
    assert f"\nfor {shapes}:\n" in f"\n{ended.out}"


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_shown(name: str, here: Run) -> None:
    ended = here("models", name)
    assert (ended.code, ended.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(here("models", name, "-o", "csv").out)))
    total = sum(int(row["num_parameters"]) for row in rows)
    assert ["total", f"{total:,}"] in shown(ended.out)


def test_ones_own_model_is_shown_too(here: Run) -> None:
    line = ("models", "mine:Line", "--input-shape", "1", "--output-shape", "1")
    ended = here(*line)
    assert (ended.code, ended.err) == (0, "")
    assert shown(ended.out) == [
        ["for tables (1,) to (1,):"],
        [""],
        ["layer", "type", "output", "parameters"],
        ["layer", "Linear", "(1,)", "2"],
        ["total", "2"],
    ]
    document = json.loads(here(*line, "-o", "json").out)
    assert [document["params"], document["layers"]] == [
        [],
        [{"name": "layer", "type": "Linear", "output_shape": [1], "num_parameters": 2}],
    ]


NAMES = ", ".join(sorted(MODELS))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lsmt", f"error: no model 'lsmt'; did you mean lstm? (there is: {NAMES})\ntry: dlcluster models"),
        (
            "--input-shape 3",
            "error: shapes and --set are for one model: name it, as in dlcluster models cnn\ntry: dlcluster models",
        ),
        (
            "cnn --input-shape 1,x",
            "error: Invalid value for '--input-shape': '1,x' is no shape such as 1,28,28\ntry: dlcluster models --help",
        ),
        (
            "cnn --output-shape 0",
            "error: Invalid value for '--output-shape': '0' is no shape such as 1,28,28\ntry: dlcluster models --help",
        ),
        (
            "cnn --input-shape 1,4,4",
            "error: model cnn: block 2 (kernel_size 3, pool 2) leaves nothing of (1, 4, 4), which is 1 x 1 pixels "
            "before it\nTake fewer filters (one number is one block), a smaller kernel_size or pool, or padding: same.",
        ),
        (
            "lstm --set hiden_size=3 --set dropout=1.5",
            "error: --set: model.params.dropout: must be less than 1 (got 1.5)\n"
            "error: --set: model.params.hiden_size: there is no such parameter; did you mean hidden_size? (there is: "
            "bidirectional, channel_independent, dropout, embedding_size, hidden_size, num_layers)",
        ),
        (
            "lstm --set dropout --set hidden_size=[",
            "error: --set dropout: must have the form key=value, such as --set hidden_size=100\n"
            "error: --set hidden_size=[: hidden_size: *",
        ),
        (
            "mine:Line",
            "error: a model of your own needs --input-shape and --output-shape\ntry: dlcluster models --help",
        ),
        ("mine:Lime --input-shape 1 --output-shape 1", "error: model mine:Lime: mine has no 'Lime'; *"),
        (
            "mine:Line --input-shape 2 --output-shape 1",
            "error: model mine:Line does not work on x of shape (1, 2): RuntimeError: *",
        ),
    ],
)
def test_what_is_wrong_is_said(line: str, said: str, here: Run) -> None:
    ended = here("models", *line.split())
    assert (ended.code, ended.out) == (2, "")
    if said.endswith("*"):
        assert ended.err.startswith(said[:-1])
    else:
        assert ended.err == f"{said}\n"


def test_the_list_says_what_each_reads(here: Run) -> None:
    rows: list[dict[str, Any]] = json.loads(here("models", "-o", "json").out)
    assert {row["name"]: row["reads"] for row in rows} == {name: list(entry.reads) for name, entry in MODELS.items()}
