"""Train a task (a LightningModule) to the end. A training that was interrupted resumes from its last checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from hypercolumns.callbacks import RelocatableModelCheckpoint, ResumeCheckpoint, evaluation_of, resume_point
from hypercolumns.data import ResumableDataModule
from hypercolumns.errors import HypercolumnsError, is_out_of_memory, summarize_error
from hypercolumns.evaluation import Evaluation
from hypercolumns.io import checkpoints
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs.earlier import EarlierRun
from hypercolumns.runs.file_names import CHECKPOINTS
from hypercolumns.runs.run import Run
from hypercolumns.runtime import distributed

BEST = RelocatableModelCheckpoint.__qualname__  # how the state of the callback that saves the best epoch is named


def checkpoints_dir(folder: Path) -> Path:
    """Return the folder of a run's checkpoints: best.ckpt, last.ckpt and previous.ckpt."""
    return folder / CHECKPOINTS


def fit(
    task: pl.LightningModule,
    data: ResumableDataModule,
    folder: Path,
    make_trainer: Callable[[], pl.Trainer],
    earlier: EarlierRun | None = None,
) -> None:
    """Train a task to the end, and load the weights of the best epoch into the task.

    The training resumes from the run's last checkpoint, if there is one. A training that an earlier call has completed
    is not repeated.

    Args:
        task: the task to train.
        data: the data module that yields the batches of the training and the validation.
        folder: the run's folder.
        make_trainer: builds the trainer. It is called only if the training is not complete yet.
        earlier: the run that the training goes on from if the run has no checkpoint of its own; None: the training
            then starts from the beginning.

    Raises:
        HypercolumnsError: if the last checkpoint belongs to another training, if the checkpoint of the best epoch is
            missing or damaged, or if no epoch was validated.
    """
    fitted = checkpoints_dir(folder) / "fitted"
    if not fitted.is_file():
        trainer = make_trainer()
        fitted.parent.mkdir(parents=True, exist_ok=True)  # the sign that a training has begun, see `Run.begin`
        with distributed.interruptible(trainer):
            start = distributed.broadcast_from_rank_zero(lambda: _start(folder, earlier))
            _fit_from(start, trainer, task, data)
    task.load_state_dict(_best_checkpoint(folder)["state_dict"])
    if distributed.is_rank_zero():
        fitted.touch()


def best_epoch(folder: Path, monitor: str) -> dict[str, Any]:
    """Return the number of a training's best epoch, and the monitored metric of this epoch.

    Args:
        folder: the run's folder.
        monitor: the metric's name, such as `val/miou`.

    Returns:
        A dictionary with two items. `best_epoch` is the number of the epoch, from 0. The other item is the metric. Its
        key is the metric's name without `val/`, for example `miou`.

    Raises:
        HypercolumnsError: if the checkpoint of the best epoch is missing or damaged.
    """
    checkpoint = _best_checkpoint(folder)
    # Other callbacks, such as a second ModelCheckpoint of the user's, may monitor the same metric.
    states = (state for name, state in checkpoint["callbacks"].items() if name.startswith(BEST))
    callback = next(state for state in states if state.get("monitor") == monitor)
    return {"best_epoch": int(checkpoint["epoch"]), monitor.removeprefix("val/"): float(callback["best_model_score"])}


def best_evaluation(folder: Path, segmenter: Segmenter) -> Evaluation | None:
    """Return the evaluation of a model on the val images, as the validation of a training's best epoch counted it.

    Args:
        folder: the run's folder.
        segmenter: the run's model.

    Returns:
        The evaluation. None if the validation did not count the pixels of images, or was of other weights, such as
        those before an averaging.
    """
    return evaluation_of(_best_checkpoint(folder), segmenter)


def _start(folder: Path, earlier: EarlierRun | None) -> Path | None:
    """Return the checkpoint to train from: the newest one of the run, or else one made from that of an earlier run."""
    own = resume_point(checkpoints_dir(folder))
    return own if own is not None or earlier is None else earlier.hand_over(Run(folder))


def _fit_from(start: Path | None, trainer: pl.Trainer, task: pl.LightningModule, data: ResumableDataModule) -> None:
    """Train from the checkpoint `start`, or from the beginning if `start` is None.

    Raises:
        HypercolumnsError: if the checkpoint belongs to another training, or a callback needs a missing package.
    """
    try:
        trainer.fit(task, data, ckpt_path=start, weights_only=True)
    except ModuleNotFoundError as error:
        raise HypercolumnsError(f"a callback or a logger needs a package: {summarize_error(error)}") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        resume = next(callback for callback in callbacks if isinstance(callback, ResumeCheckpoint))
        if start is None or resume.began or is_out_of_memory(error):
            raise
        raise HypercolumnsError(
            f"{start} is not a checkpoint of this training ({summarize_error(error)}); remove this file and run the "
            f"same command again: it resumes from an older checkpoint or, if there is none, starts from the beginning"
        ) from error


def _best_checkpoint(folder: Path) -> dict[str, Any]:
    path, fitted = (checkpoints_dir(folder) / name for name in ("best.ckpt", "fitted"))
    if not path.is_file() and fitted.is_file():
        raise HypercolumnsError(f"{path} is missing; add overwrite=true to train again from the beginning")
    if not path.is_file():
        raise HypercolumnsError(
            "no epoch was validated, so there is no best epoch; trainer.limit_val_batches must not be 0"
        )
    try:
        checkpoint: dict[str, Any] = checkpoints.load_plain(path)
        if not {"state_dict", "callbacks", "epoch"} <= {*checkpoint}:
            raise ValueError("it is not the checkpoint of a training")
    except (OSError, TypeError, ValueError) as error:
        raise HypercolumnsError(
            f"{path} is damaged ({error}); add overwrite=true to train again from the beginning"
        ) from error
    return checkpoint
