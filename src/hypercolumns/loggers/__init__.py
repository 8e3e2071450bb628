"""Loggers of Lightning's that also continue an earlier run, and functions that log what they have no method for."""

from hypercolumns.loggers.csv_logger import ResumableCSVLogger, copy_epochs
from hypercolumns.loggers.mlflow_logger import RunMLFlowLogger
from hypercolumns.loggers.run_loggers import RunLoggers
from hypercolumns.loggers.tensorboard import ImageTensorBoardLogger
from hypercolumns.loggers.write import log_final, log_hyperparameters, log_picture, takes_pictures

__all__ = [
    "ImageTensorBoardLogger",
    "ResumableCSVLogger",
    "RunLoggers",
    "RunMLFlowLogger",
    "copy_epochs",
    "log_final",
    "log_hyperparameters",
    "log_picture",
    "takes_pictures",
]
