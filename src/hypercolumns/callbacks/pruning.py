"""Ending a trial of a search early when it has no hope."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import pytorch_lightning as pl

ShouldPrune = Callable[[int, float], bool]  # from an epoch (from 0) and its metric, the higher the better


class PrunedError(Exception):
    """A training was given up: its metric was worse than that of other trials."""


class PrunableStage(NamedTuple):
    """The stage of a trial that may be ended early, and the decision."""

    stage: str
    should_prune: ShouldPrune


_prunable: ContextVar[PrunableStage | None] = ContextVar("prunable", default=None)


@contextmanager
def search_trial(stage: str, should_prune: ShouldPrune) -> Iterator[None]:
    """Inside, trainings of `stage` may be pruned; those of the stages before it are not."""
    token = _prunable.set(PrunableStage(stage, should_prune))
    try:
        yield
    finally:
        _prunable.reset(token)


class SearchPruning(pl.Callback):
    """Report the monitored metric to the search after each epoch; stop the trial if the search says so.

    It raises PrunedError before the next epoch. The checkpoint of the epoch is already written by then, so the same
    settings can be resumed later.
    """

    def __init__(self, stage: str, monitor: str, minimise: bool) -> None:
        """The callback of one training.

        Args:
            stage: the stage that trains.
            monitor: the metric that tells its best epoch.
            minimise: whether a lower metric is better.
        """
        prunable = _prunable.get()
        self.should_prune = prunable.should_prune if prunable and prunable.stage == stage else None
        self.monitor, self.minimise = monitor, minimise
        self._validated_epoch: int | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated_epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.should_prune is None or self._validated_epoch is None or self.monitor not in trainer.callback_metrics:
            return
        epoch, self._validated_epoch = self._validated_epoch, None
        metric = float(trainer.callback_metrics[self.monitor])
        if self.should_prune(epoch, -metric if self.minimise else metric):
            raise PrunedError(f"given up after epoch {epoch + 1}, {self.monitor} {metric:.3f}")
