"""Predicts in this process, without Ray: one piece after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlcluster.data.lines import How
from dlcluster.data.locate import File
from dlcluster.data.pieces import Piece, Scan, scan
from dlcluster.driver.predict import Progress
from dlcluster.training.ended import TrialEnded

if TYPE_CHECKING:
    from dlcluster.driver.predictor import Work


class HereRunner:
    """Runs attempts right here; what they print goes where it always goes.

    Args:
        gpu: Whether to use one, if there is one.
    """

    def __init__(self, *, gpu: bool) -> None:
        self.gpu = gpu

    def scan(self, files: Sequence[File], how: How) -> list[Scan]:
        """Looks through all files."""
        return [scan(file, how) for file in files]

    def run(self, work: Work, pieces: Sequence[Piece], progress: Progress) -> TrialEnded:
        """Predicts pieces until all are done, one fails, or the run is to stop; no pieces: a whole series."""
        import torch

        from dlcluster.driver.predictor import Predictor, StoppedError, ended_by

        claim = progress.claim
        claim.set("RUNNING")
        device = torch.device("cuda:0" if self.gpu and torch.cuda.is_available() else "cpu")

        def stop() -> str | None:
            return claim.stop.reason if claim.stop is not None else None

        try:
            predictor = Predictor(work, device, stop)
            if work.kind == "series":
                for rows in predictor.series():
                    progress.add(rows)
            for piece in pieces:
                if stop() is not None:
                    raise StoppedError
                for rows in predictor.piece(piece):
                    progress.add(rows)
                progress.done.add(piece.number)
        except (Exception, SystemExit) as error:
            return ended_by(error, stop())
        return TrialEnded("SUCCEEDED")
