"""Let a search over settings stop unpromising trials early.

A trial is one job of the search. It runs the command with one combination of values for the settings.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import pytorch_lightning as pl

# Takes an epoch, counted from 0, and its metric (higher is better), and returns whether to stop the trial.
ShouldPrune = Callable[[int, float], bool]


class PrunedError(Exception):
    """The search stopped a trial early, because the trial's metric was not good enough."""


class PrunableStage(NamedTuple):
    """The stage whose trainings a search can stop early, and the function that decides whether to stop the trial."""

    stage: str
    should_prune: ShouldPrune


_prunable: ContextVar[PrunableStage | None] = ContextVar("prunable", default=None)


@contextmanager
def search_trial(stage: str, should_prune: ShouldPrune) -> Iterator[None]:
    """Let a search stop the trainings of `stage` that are set up inside the `with` block.

    Trainings of other stages run to their ends. `should_prune` is called after each epoch that has a validation, see
    `SearchPruning`.
    """
    token = _prunable.set(PrunableStage(stage, should_prune))
    try:
        yield
    finally:
        _prunable.reset(token)


class SearchPruning(pl.Callback):
    """Report a metric of each epoch to the search, and stop the trial if the search decides so.

    The metric of an epoch with a validation is reported at the start of the next epoch, when the epoch's checkpoint has
    been saved. If the search decides to stop the trial, the callback raises PrunedError. A later command with the same
    settings can resume the training from the checkpoint.

    The callback does nothing unless it is made inside a `with search_trial(stage, ...)` block for the same stage.

    Args:
        stage: the stage that runs this training.
        monitor: the name of the metric to report.
        minimise: true if lower values of the metric are better; the callback then reports the negated value.
    """

    def __init__(self, stage: str, monitor: str, minimise: bool) -> None:
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
            raise PrunedError(f"stopped by the search after epoch {epoch + 1} with {self.monitor} {metric:.3f}")
