"""Log pictures, hyperparameters and final metrics to any logger of Lightning's."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from hypercolumns.loggers.tensorboard import ImageTensorBoardLogger


def takes_pictures(logger: Logger) -> bool:
    """Whether `log_picture` logs pictures to a logger."""
    return isinstance(logger, TensorBoardLogger | WandbLogger | MLFlowLogger)


def log_picture(logger: Logger, name: str, picture: bytes, step: int = 0) -> None:
    """Log a picture where the logger takes pictures; do nothing if it takes none.

    Args:
        logger: the logger.
        name: the picture's name, such as `val_images/worst_1`.
        picture: the contents of a PNG file.
        step: the number of the training step.
    """
    if isinstance(logger, ImageTensorBoardLogger):
        logger.log_picture(name, picture, step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, np.asarray(_opened(picture)), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [_opened(picture)], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, _opened(picture), key=name, step=step)


def log_hyperparameters(logger: Logger, columns: Mapping[str, Any]) -> None:
    """Log the hyperparameters of a run, before its first step.

    TensorBoard shows hyperparameters only next to final metrics. Its logger writes them in `log_final`.

    Args:
        logger: the logger.
        columns: the value of each hyperparameter, by its name.
    """
    logger.log_hyperparams(dict(columns))


def log_final(logger: Logger, columns: Mapping[str, Any], values: Mapping[str, float]) -> None:
    """Log the final metrics of a run.

    Args:
        logger: the logger.
        columns: the hyperparameters of the run, see `log_hyperparameters`.
        values: the final metrics, by their names.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.log_hyperparams(dict(columns), dict(values))
    elif values:
        logger.log_metrics(dict(values))


def close(logger: Logger, succeeded: bool) -> None:
    """End the part of a run that this command logs. A later command can continue the run.

    Args:
        logger: the logger.
        succeeded: whether the command has reached its end.
    """
    logger.finalize("success" if succeeded else "failed")
    if isinstance(logger, WandbLogger):
        # wandb has one run for each process. Without this, the next stage or job would log to the run of this one.
        logger.experiment.finish(exit_code=0 if succeeded else 1)


def _opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")
