"""Labelled texts to splits of token ids, padded or cut to one length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlcluster.data.params import TextParams
from dlcluster.data.prepared import SPLITS, Prepared
from dlcluster.data.source import Source
from dlcluster.data.splits import split_indices
from dlcluster.data.textfiles import Labelled, read_labelled
from dlcluster.data.tokens import FittedTokenizer, Ids, fit, id_dtype, text_column
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dlcluster.spec.data import Split


class TokenSamples:
    """Texts as token ids, kept in the smallest type that holds them: a batch becomes int64 when it is gathered.

    Args:
        x: ``(samples, length)``, any integer type.
        y: ``(samples,)``, int64.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.x)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Copies the rows named by ``index``: x ``(n, length)`` and y ``(n,)``, int64."""
        return self.x[index].long(), self.y[index]

    def to(self, device: torch.device) -> TokenSamples:
        """Moves both tensors."""
        return TokenSamples(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class TextPreparation:
    """What was fitted on the train split of labelled texts.

    Attributes:
        params: Columns, length and tokeniser.
        class_names: In the order of the ids.
        length: Tokens each text is cut or padded to.
        tokenizer: The fitted tokeniser, as the ``tokenizers`` library writes it.
    """

    params: TextParams
    class_names: tuple[str, ...]
    length: int
    tokenizer: str

    kind = "texts"

    @cached_property
    def fitted(self) -> FittedTokenizer:
        """The tokeniser, ready for use."""
        return FittedTokenizer(self.params.tokenizer, self.tokenizer)

    def config(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "params": self.params.model_dump(mode="json"),
            "class_names": list(self.class_names),
            "length": self.length,
            "tokenizer": self.tokenizer,
        }

    def inputs(self, batch: pa.Table) -> Tensor:
        """Makes x, ``(rows, length)`` int64, of the column with the text.

        Raises:
            DataError: When there is no such column, or it lacks a text.
        """
        return torch.from_numpy(self.padded(*self.fitted.encode(text_column(batch, self.params.text)))).long()

    def outputs(self, prediction: Tensor, batch: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
        """Names the most likely class, and says how likely it is.

        Args:
            prediction: Logits, ``(rows, num_classes)``.
            batch: Not used.
        """
        confidence, best = prediction.detach().cpu().float().softmax(dim=-1).max(dim=-1)
        return {"prediction": np.array(self.class_names)[best.numpy()], "confidence": confidence.numpy()}

    def padded(self, ids: Ids, lengths: np.ndarray[Any, Any]) -> Ids:
        """Lays texts below each other, cut at `length` and filled with 0.

        Args:
            ids: Of all texts one after the other.
            lengths: How many of them each text has, ``(texts,)``.

        Returns:
            ``(texts, length)``; a text without any token is one unknown token, so that no model meets nothing.
        """
        x = np.zeros((len(lengths), self.length), dtype=id_dtype(self.fitted.num_tokens))
        place = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        x[np.arange(self.length) < lengths[:, None]] = ids[place < self.length]
        x[lengths == 0, 0] = self.fitted.unknown
        return x


def preparation_from(config: Mapping[str, Any]) -> TextPreparation:
    """Makes a stored preparation again."""
    return TextPreparation(
        TextParams.model_validate(config["params"]),
        tuple(config["class_names"]),
        config["length"],
        config["tokenizer"],
    )


def load(task: str, source: Source, params: TextParams, split: Split) -> Prepared:
    """Reads and prepares labelled texts.

    What is there decides how they are read: CSV or Parquet tables; folders with a file for each text, named by
    their class; or a file for each class with a text a line, named by its class.

    Args:
        task: ``classification``.
        source: Tables, or a folder or glob of text files.
        params: Columns, length and tokeniser.
        split: The job's ``data.split``.

    Raises:
        DataError: When they cannot be read, or not be used as the job asks.
    """
    labelled = {"train": read_labelled(source.path, source.format, params)}
    labelled |= {name: read_labelled(path, source.format, params) for name, path in source.files.items()}
    class_names = _class_names(Counter(label for part in labelled.values() for label in part.labels))
    _refuse_lone_classes(class_names, labelled)
    ids = {name: i for i, name in enumerate(class_names)}
    y = {name: np.array([ids[label] for label in part.labels], dtype=np.int64) for name, part in labelled.items()}
    given = frozenset(source.files)
    dealt = split_indices(len(y["train"]), split, classes=y["train"], class_names=class_names, given=given)
    parts = {name: [labelled["train"].texts[i] for i in index] for name, index in dealt.items()}
    parts |= {name: labelled[name].texts for name in source.files}
    targets = {name: y["train"][index] for name, index in dealt.items()} | {name: y[name] for name in source.files}
    if not parts["train"]:
        raise DataError("data.split.train: no texts to train on")
    _refuse_unseen_classes(class_names, targets, given)
    return _prepare(
        task, parts, targets, class_names, params, [note for part in labelled.values() for note in part.notes]
    )


def _prepare(
    task: str,
    parts: Mapping[str, Sequence[str]],
    targets: Mapping[str, np.ndarray[Any, Any]],
    class_names: tuple[str, ...],
    params: TextParams,
    notes: Sequence[str],
) -> Prepared:
    fitted = fit(params.tokenizer, parts["train"], padding=True, unknown=True)
    encoded = {name: fitted.encode(parts[name]) for name in SPLITS}
    longest = int(encoded["train"][1].max())
    length = params.length or max(longest, 1)
    preparation = TextPreparation(params, class_names, length, fitted.json)
    samples = {
        name: TokenSamples(torch.from_numpy(preparation.padded(*encoded[name])), torch.from_numpy(targets[name]))
        for name in SPLITS
    }
    cut = sum(int((lengths > length).sum()) for _, lengths in encoded.values())
    total = sum(len(lengths) for _, lengths in encoded.values())
    shortened = [f"{cut:,} of {total:,} texts are longer than {length} tokens and are cut"] if cut else []
    shares = np.bincount(targets["train"], minlength=len(class_names)) / len(targets["train"])
    logits = torch.from_numpy(np.log(shares)).float()

    def most_frequent(x: Tensor) -> Tensor:
        return logits.to(x.device).expand(len(x), -1)

    return Prepared(
        task=task,
        splits=samples,
        input_shape=(length,),
        output_shape=(len(class_names),),
        num_classes=len(class_names),
        num_tokens=fitted.num_tokens,
        class_names=class_names,
        baseline=most_frequent,
        baseline_name="most frequent class of train",
        preparation=preparation,
        notes=(*notes, *shortened),
    )


def _class_names(counts: Counter[str]) -> tuple[str, ...]:
    """Orders the classes: by number where they are whole numbers, else by their text."""
    alike: dict[str, str] = {}
    for name in sorted(counts):
        plain = name.strip().rstrip(".").rstrip().casefold()
        if plain in alike:
            first = alike[plain]
            raise DataError(
                f"data: classes {first!r} ({_texts(counts[first])}) and {name!r} ({_texts(counts[name])}) differ by "
                "capitals, a space or a dot at the end only",
                hint="Write them alike.",
            )
        alike[plain] = name
    if all(re.fullmatch(r"-?[0-9]+", name) for name in counts):
        return tuple(sorted(counts, key=int))
    return tuple(sorted(counts))


def _texts(count: int) -> str:
    return f"{count:,} {'text' if count == 1 else 'texts'}"


def _refuse_lone_classes(class_names: Sequence[str], labelled: Mapping[str, Labelled]) -> None:
    """Refuses data in which nothing can be told apart, or nothing is alike."""
    total = sum(len(part.texts) for part in labelled.values())
    if len(class_names) == 1:
        raise DataError(
            f"data: all {total:,} texts are of class {class_names[0]!r}; there must be two or more",
            hint="A class is a file with a text a line, a folder with a text a file, or a value of data.params.target.",
        )
    if len(class_names) == total:
        raise DataError(f"data: each of the {total:,} texts has a class of its own (such as {class_names[0]!r})")


def _refuse_unseen_classes(
    class_names: Sequence[str], targets: Mapping[str, np.ndarray[Any, Any]], given: frozenset[str]
) -> None:
    counts = {name: np.bincount(classes, minlength=len(class_names)) for name, classes in targets.items()}
    for name in ("validation", "test"):
        for unseen in np.flatnonzero((counts["train"] == 0) & (counts[name] > 0)).tolist():
            raise DataError(
                f"data: class {class_names[unseen]!r} stands only in {name} ({_texts(int(counts[name][unseen]))}), "
                "never in train",
                hint=f"Take it out of data.split.files.{name}, or add such texts to train."
                if name in given
                else "data.split.stratify: true gives each split its share of every class.",
            )
