"""To end a training early that a search has no hope for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import pytorch_lightning as pl

ShouldPrune = Callable[
    [int, float], bool
]  # of an epoch (from 0) and its figure, the more the better: whether to give up


class PrunedError(Exception):
    """A training was given up: its figures were worse than those of others."""


class PrunableStage(NamedTuple):
    """A stage that is judged while it trains."""

    stage: str
    judge: ShouldPrune


_prunable: ContextVar[PrunableStage | None] = ContextVar("judged", default=None)


@contextmanager
def search_trial(stage: str, judge: ShouldPrune) -> Iterator[None]:
    """Inside, trainings of that stage are judged; those that make its input are not."""
    token = _prunable.set(PrunableStage(stage, judge))
    try:
        yield
    finally:
        _prunable.reset(token)


class SearchPruning(pl.Callback):
    """Shows the monitored figure of each epoch to the judge; raises PrunedError before the next one if he gives up.

    By then the checkpoints of the epoch are written: the same settings go on from there another time.
    """

    def __init__(self, stage: str, monitor: str, minimise: bool) -> None:
        """Of a training of `stage`, of which `monitor` tells the best epoch."""
        judged = _prunable.get()
        self.judge = judged.judge if judged and judged.stage == stage else None
        self.monitor, self.minimise = monitor, minimise
        self._scored: int | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember that this epoch has figures."""
        self._scored = trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what the epoch before came to."""
        if self.judge is None or self._scored is None or self.monitor not in trainer.callback_metrics:
            return
        epoch, self._scored = self._scored, None
        figure = float(trainer.callback_metrics[self.monitor])
        if self.judge(epoch, -figure if self.minimise else figure):
            raise PrunedError(f"given up after epoch {epoch + 1}, {self.monitor} {figure:.3f}")
