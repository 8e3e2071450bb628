"""Build the callbacks of the setting `callbacks`, and refuse those of Lightning's that a training can't take."""

from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    ProgressBar,
    SpikeDetection,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)

from hypercolumns.errors import HypercolumnsError
from hypercolumns.settings.compose import part

# Callbacks that change the trained weights, although callbacks don't make another run, or that prevent a training from
# ending or resuming; with the settings that do the same.
REFUSED: dict[type[pl.Callback], str] = {
    BaseFinetuning: "train layers of the CNN by cnn.trainable=, optimizer.backbone_lr= and optimizer.layer_decay=",
    BatchSizeFinder: "set batch_size=, or try several: -m batch_size=4,8,16",
    EarlyStopping: "set patience= and monitor=",
    GradientAccumulationScheduler: "set trainer.accumulate_grad_batches=",
    LearningRateFinder: "try several rates: -m optimizer.lr=1e-4,3e-4,1e-3, or -m search=optuna "
    "'optimizer.lr=interval(1e-4,1e-2)'",
    ModelPruning: "set a smaller classifier.hidden=",
    ProgressBar: "every training has a progress bar",
    SpikeDetection: "it can't resume; set trainer.gradient_clip_val=1; a loss that is not finite stops every training",
    StochasticWeightAveraging: "set ema=0.999",
    WeightAveraging: "set ema=0.999",
}


def chosen_callbacks(cfg: DictConfig) -> list[Any]:
    """Build the callbacks that the setting `callbacks` chooses.

    Raises:
        HypercolumnsError: if an argument is invalid, or a training can't take a callback; the message says what to do.
    """
    callbacks = {name: part(f"callbacks.{name}", callback) for name, callback in (cfg.callbacks or {}).items()}
    for name, callback in callbacks.items():
        if not isinstance(callback, pl.Callback):
            raise HypercolumnsError(
                f"callbacks.{name}: {type(callback).__name__} is not a callback; give callbacks.{name}._target_ the "
                f"path of a class derived from pytorch_lightning.Callback"
            )
        advice = next((advice for kind, advice in REFUSED.items() if isinstance(callback, kind)), None)
        if isinstance(callback, Timer) and callback.time_remaining() is not None:
            advice = "set trainer.max_epochs=, or stop the command by Ctrl-C: the same command resumes"
        if advice:
            raise HypercolumnsError(
                f"callbacks.{name}: {type(callback).__name__} can't be used in a training of this project; {advice}"
            )
    return list(callbacks.values())
