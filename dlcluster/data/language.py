"""Running text to blocks of token ids, each with the token that follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlcluster.data.batches import Samples, TensorSamples
from dlcluster.data.locate import find
from dlcluster.data.params import LanguageParams
from dlcluster.data.prepared import SPLITS, Prepared
from dlcluster.data.source import Source
from dlcluster.data.splits import edges, shares_of
from dlcluster.data.textfiles import read_text
from dlcluster.data.tokens import FittedTokenizer, Ids, characters_of, fit, text_column
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dlcluster.spec.data import Split

TEXT_COLUMN = "text"
"""Column with the texts a model is asked to go on with."""


class BlockSamples:
    """Blocks of a running text; the target of each token is the token after it.

    The text lies here once, in the smallest type that holds its ids: a batch is cut out and becomes int64 when it
    is gathered.

    Args:
        tokens: ``(tokens,)``, any integer type; more than ``block`` of them.
        block: Tokens in x and in y.
        stride: Tokens from the start of one block to the start of the next.
    """

    def __init__(self, tokens: Tensor, *, block: int, stride: int) -> None:
        self.tokens, self.block, self.stride = tokens, block, stride

    def __len__(self) -> int:
        """Number of blocks."""
        return (len(self.tokens) - self.block - 1) // self.stride + 1

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Copies the blocks named by ``index``: x and y, both ``(n, block)`` int64."""
        # Made anew, since a view kept here would be counted with all that it overlaps.
        both = self.tokens.unfold(0, self.block + 1, self.stride)[index]
        return both[:, :-1].long(), both[:, 1:].long()

    def to(self, device: torch.device) -> BlockSamples:
        """Moves the text."""
        return BlockSamples(self.tokens.to(device), block=self.block, stride=self.stride)


@dataclass(frozen=True)
class LanguagePreparation:
    """What was fitted on the train split of a running text.

    Attributes:
        params: Block and tokeniser.
        tokenizer: The fitted tokeniser, as the ``tokenizers`` library writes it.
    """

    params: LanguageParams
    tokenizer: str

    kind = "language"

    @cached_property
    def fitted(self) -> FittedTokenizer:
        """The tokeniser, ready for use."""
        return FittedTokenizer(self.params.tokenizer, self.tokenizer)

    def config(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {"params": self.params.model_dump(mode="json"), "tokenizer": self.tokenizer}

    def inputs(self, batch: pa.Table) -> Tensor:
        """Makes x, ``(rows, block)`` int64, of the column ``text``: the end of each text, at the start of its row.

        What fills a shorter row comes after the text, so a model that only looks back never sees it.

        Raises:
            DataError: When there is no such column, a text is empty, or holds a character train never had.
        """
        x = torch.zeros(batch.num_rows, self.params.block, dtype=torch.int64)
        for row, ids in enumerate(self._ends(batch)):
            x[row, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
        return x

    def outputs(self, prediction: Tensor, batch: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
        """Says what most likely comes next, how likely it is, and how well the text itself was foreseen.

        Args:
            prediction: Logits, ``(rows, block, num_tokens)``.
            batch: The rows they were made from.

        Returns:
            ``prediction`` (a token), its ``confidence``, and ``nats_per_token``: the mean of -log p of each token
            but the first, NaN where there is but one.
        """
        logs = prediction.detach().cpu().float().log_softmax(dim=-1)
        following, confidence, nats = [], [], []
        for row, ids in enumerate(self._ends(batch)):
            best = logs[row, len(ids) - 1].max(dim=-1)
            following.append(self.fitted.text_of(int(best.indices)))
            confidence.append(float(best.values.exp()))
            targets = torch.from_numpy(ids[1:].astype(np.int64))
            nats.append(float(-logs[row, torch.arange(len(targets)), targets].mean()))
        return {
            "prediction": np.array(following, dtype=object),
            "confidence": np.array(confidence, dtype=np.float32),
            "nats_per_token": np.array(nats, dtype=np.float32),
        }

    def _ends(self, batch: pa.Table) -> list[Ids]:
        """The last tokens of each text, at most a block of them."""
        ids, lengths = self.fitted.encode(text_column(batch, TEXT_COLUMN))
        if not lengths.all():
            raise DataError(f"column {TEXT_COLUMN!r}: row {int(lengths.argmin()) + 1} has no text to go on with")
        return [text[-self.params.block :] for text in np.split(ids, np.cumsum(lengths)[:-1])] if len(lengths) else []


def preparation_from(config: Mapping[str, Any]) -> LanguagePreparation:
    """Makes a stored preparation again."""
    return LanguagePreparation(LanguageParams.model_validate(config["params"]), config["tokenizer"])


def load(task: str, source: Source, params: LanguageParams, split: Split) -> Prepared:
    """Reads and prepares a running text.

    Splits follow each other in the text. In train every token is the start of a sample; in validation and test the
    blocks lie end to end, so that each token is predicted once.

    Args:
        task: ``language_model``.
        source: One text file, or several that are read one after the other, in the order of their paths.
        params: Block and tokeniser.
        split: The job's ``data.split``.

    Raises:
        DataError: When it cannot be read, or a split is smaller than one block.
    """
    if split.folds is not None:
        raise DataError(
            "data.split.folds: a running text is cut at two places only, into train, validation and test",
            hint="Leave folds out, and give shares: data.split.train, validation and test.",
        )
    text = _read(source.path, params)
    shares = shares_of(split, frozenset(source.files))
    trained, validated = edges(len(text), shares)
    parts = {"train": text[:trained], "validation": text[trained:validated], "test": text[validated:]}
    parts |= {name: _read(path, params) for name, path in source.files.items()}
    unknown = _needs_unknown(params, parts)
    # A block is always full, so there is no padding: the ids are those of the tokens alone wherever that is possible.
    fitted = fit(params.tokenizer, [parts["train"]], padding=False, unknown=unknown, line_ends=True)
    ids = {name: fitted.encode_running(part) for name, part in parts.items()}
    wanted = {name for name in SPLITS if shares[name] > 0} | set(source.files)
    samples = {name: _blocks(name, ids[name], params.block, wanted=name in wanted) for name in SPLITS}
    counts = np.bincount(ids["train"], minlength=fitted.num_tokens).clip(min=1)  # log 0 would be an endless loss
    logs = torch.from_numpy(np.log(counts / counts.sum())).float()

    def frequencies(x: Tensor) -> Tensor:
        return logs.to(x.device).expand(*x.shape, -1)

    return Prepared(
        task=task,
        splits=samples,
        input_shape=(params.block,),
        output_shape=(params.block, fitted.num_tokens),
        num_tokens=fitted.num_tokens,
        baseline=frequencies,
        baseline_name="token frequencies of train",
        preparation=LanguagePreparation(params, fitted.json),
        notes=tuple(_unknown_notes(fitted, parts, ids)),
    )


def _read(path: str, params: LanguageParams) -> str:
    text = "".join(read_text(file, params.encoding) for file in find(path))
    if not text.strip():
        raise DataError(f"data.path: {path}: there is no text in it")
    return text


def _needs_unknown(params: LanguageParams, parts: Mapping[str, str]) -> bool:
    """Whether a token may not be known: any word, no byte, and a character if one is."""
    if params.tokenizer.name != "characters":
        return params.tokenizer.name == "words"
    known = characters_of(params.tokenizer, parts["train"])
    size = params.tokenizer.vocab_size
    others = [characters_of(params.tokenizer, part) for part in parts.values()]
    return any(other - known for other in others) or (size is not None and len(known) > size)


def _blocks(name: str, ids: Ids, block: int, *, wanted: bool) -> Samples:
    if len(ids) <= block:
        if not wanted:
            return TensorSamples(torch.empty(0), torch.empty(0))
        raise DataError(
            f"data.split.{name}: {len(ids)} tokens are fewer than one block of {block} and the token after it "
            f"({block + 1} tokens)",
            hint="Make data.params.block shorter, or this split larger.",
        )
    return BlockSamples(torch.from_numpy(ids), block=block, stride=1 if name == "train" else block)


def _unknown_notes(fitted: FittedTokenizer, parts: Mapping[str, str], ids: Mapping[str, Ids]) -> Sequence[str]:
    notes = []
    for name, part in parts.items():
        count = int((ids[name] == fitted.unknown).sum()) if fitted.unknown is not None else 0
        if not count:
            continue
        shown = ""
        if fitted.params.name == "characters":
            strange = sorted(characters_of(fitted.params, part) - set(fitted.vocabulary))
            shown = f" ({', '.join(map(repr, strange[:5]))}{', ...' if len(strange) > 5 else ''})"
        notes.append(f"{name}: {count:,} of {len(part) if shown else len(ids[name]):,} tokens are unknown{shown}")
    return notes
