"""Training to the end, from wherever the last command stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from hypercolumns.callbacks import ResumeCheckpoint, resume_point
from hypercolumns.data import ResumableDataModule
from hypercolumns.errors import HypercolumnsError, is_out_of_memory, summarize_error
from hypercolumns.io import checkpoints
from hypercolumns.runtime import distributed


def checkpoints_dir(folder: Path) -> Path:
    """Where a run keeps its checkpoints: best.ckpt, last.ckpt and previous.ckpt."""
    return folder / "checkpoints"


def fit(
    task: pl.LightningModule, data: ResumableDataModule, folder: Path, make_trainer: Callable[[], pl.Trainer]
) -> None:
    """Train a task, going on from the run's last checkpoint if there is one; leave it with its best epoch's weights.

    Args:
        task: trains some or all of a segmenter.
        data: its batches.
        folder: of the run.
        make_trainer: makes the trainer, if there is anything left to train.
    """
    fitted = checkpoints_dir(folder) / "fitted"
    if not fitted.is_file():
        trainer = make_trainer()
        with distributed.interruptible(trainer):
            start = distributed.broadcast_from_rank_zero(lambda: resume_point(checkpoints_dir(folder)))
            _fit_from(start, trainer, task, data)
    task.load_state_dict(_best_checkpoint(folder)["state_dict"])
    if distributed.is_rank_zero():
        fitted.touch()


def best_epoch(folder: Path, monitor: str) -> dict[str, Any]:
    """The best epoch of a training: its number (from 0), and its value of the monitored metric.

    Args:
        folder: of the run.
        monitor: the metric, such as `val/miou`.

    Returns:
        `best_epoch`, and the value by the metric's name without `val/`.
    """
    checkpoint = _best_checkpoint(folder)
    callback = next(state for state in checkpoint["callbacks"].values() if state.get("monitor") == monitor)
    return {"best_epoch": int(checkpoint["epoch"]), monitor.removeprefix("val/"): float(callback["best_model_score"])}


def _fit_from(start: Path | None, trainer: pl.Trainer, task: pl.LightningModule, data: ResumableDataModule) -> None:
    """Train, going on from a checkpoint; raises HypercolumnsError if it is none of this training."""
    try:
        trainer.fit(task, data, ckpt_path=start, weights_only=True)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        last = next(one for one in trainer.callbacks if isinstance(one, ResumeCheckpoint))  # type: ignore[attr-defined]
        if start is None or last.began or is_out_of_memory(error):
            raise
        raise HypercolumnsError(
            f"{start} is no checkpoint of this training ({summarize_error(error)}); remove it, and the same command "
            f"goes on without it"
        ) from error


def _best_checkpoint(folder: Path) -> dict[str, Any]:
    path, fitted = (checkpoints_dir(folder) / name for name in ("best.ckpt", "fitted"))
    if not path.is_file() and fitted.is_file():
        raise HypercolumnsError(f"{path} is missing; overwrite=true trains anew")
    if not path.is_file():
        raise HypercolumnsError("no epoch was scored, so there is no best one; check trainer.limit_val_batches")
    try:
        checkpoint: dict[str, Any] = checkpoints.load_plain(path)
        if not {"state_dict", "callbacks", "epoch"} <= {*checkpoint}:
            raise ValueError("it is no checkpoint of a training")
    except (OSError, TypeError, ValueError) as error:
        raise HypercolumnsError(f"{path} is damaged ({error}); overwrite=true trains anew") from error
    return checkpoint
