"""What a job file says of its model and its data."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from dlcluster.spec.fields import Component, Filled, Params
from dlcluster.spec.section import Section


class Model(Section):
    """Which network is trained, and what it begins with."""

    name: Component = Field(
        description="mlp, cnn, rnn, lstm, gru, transformer, gan, or your own as package.module:Class.",
        examples=["mlp"],
    )
    params: Params = Field(default={}, description="Arguments of the model.")
    init: Literal["xavier", "kaiming", "orthogonal"] | None = Field(
        default=None, description="How weight matrices begin; default: as torch makes each layer."
    )
    init_from: Filled | None = Field(
        default=None, description="Begin with the weights of an earlier run: its id, or a model's uri."
    )
    freeze: list[Filled] = Field(
        default=[], description="Parameters that are not trained, by name; * stands for anything."
    )


class SplitFiles(Section):
    """Files with splits of their own; data.path is then for what is left."""

    validation: Filled | None = Field(default=None, description="File or folder to validate on.")
    test: Filled | None = Field(default=None, description="File or folder for the final test.")


class Split(Section):
    """Which share of the data is trained on, validated on and tested on; they add up to 1."""

    train: float = Field(default=0.7, gt=0, le=1, description="Share to train on.")
    validation: float = Field(default=0.1, ge=0, lt=1, description="Share to validate on after each epoch.")
    test: float = Field(default=0.2, ge=0, lt=1, description="Share held back for the final test.")
    by: Literal["random", "time"] | None = Field(
        default=None,
        description="random, or time: in the order of the data; default: time for series and running text.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of a random split.")
    stratify: bool = Field(default=False, description="Whether each split has the same share of each class.")
    folds: int | None = Field(default=None, ge=2, description="Cut into this many equal parts; one is tested on.")
    fold: int = Field(default=0, ge=0, description="Which of the folds is tested on, from 0.")
    files: SplitFiles = Field(
        default_factory=SplitFiles, description="Files with splits of their own, instead of shares."
    )


class Data(Section):
    """What is trained on: a data set by name, or files by path."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["name"]}, {"required": ["path"]}]},
    )

    name: Component | None = Field(
        default=None, description="A data set by name, or your own as package.module:function."
    )
    path: Filled | None = Field(
        default=None,
        description="A file, folder or glob of your own, local, s3:// or https://, instead of a name.",
    )
    format: Literal["csv", "parquet", "npz", "idx", "images", "text"] | None = Field(
        default=None, description="What the files are; default: by their ending."
    )
    task: Literal["forecast", "classification", "regression", "language_model", "generation"] | None = Field(
        default=None, description="What is learnt; default: what the named data set is for."
    )
    params: Params = Field(default={}, description="How the data is prepared, such as window.")
    split: Split = Field(default_factory=Split, description="Shares of the three splits.")
