"""Scoring images at their own resolution, by one process or several."""

from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader

from hypercolumns.callbacks import TrainingProgressBar
from hypercolumns.data import Example, PredictionDataset
from hypercolumns.data.modules.image_data import ImageDataset, collate
from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation import Evaluation, ImageConfusion, resampling_groups
from hypercolumns.runtime import distributed
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.tasks import EvaluationTask


def score_images(
    cfg: DictConfig, labeller: nn.Module, dataset: ImageDataset | PredictionDataset, classes: tuple[str, ...]
) -> Evaluation:
    """Count how the labeller labels each image of the dataset, in its order.

    With `trainer.devices` above 1, that many processes run this very command and share the images; each of them returns
    the counts of all. Raises HypercolumnsError, in all of them, for a file that can't be used, and if there are fewer
    images than processes.
    """
    ids = [pair.id for pair in dataset.pairs]
    resampling_groups(ids, cfg.groups)  # before the work, not after it
    trainer = distributed.inference_trainer(cfg, TrainingProgressBar(), precision=cfg.trainer.precision)
    if trainer.world_size > len(ids):
        raise HypercolumnsError(
            f"trainer.devices={cfg.trainer.devices}: {trainer.world_size} processes can't share {len(ids)} images; use "
            f"at most {len(ids)}"
        )
    own = range(trainer.global_rank, len(ids), trainer.world_size)
    loader: DataLoader[Example] = DataLoader(
        dataset,
        batch_sampler=[[index] for index in own],
        num_workers=cfg.num_workers,
        collate_fn=collate,
        worker_init_fn=ignore_signals_in_worker,
    )
    task = EvaluationTask(labeller.eval(), len(classes), cfg.boundary)
    fault = None
    try:
        with distributed.interruptible(trainer):
            trainer.test(task, loader, verbose=False)
    except HypercolumnsError as error:
        fault = str(error)
    counts = _of_all(trainer, task.counts, fault)
    order = {id: number for number, id in enumerate(ids)}
    return Evaluation.of(sorted(counts, key=lambda one: order[one.id]), classes, cfg.boundary)


def _of_all(trainer: pl.Trainer, counts: list[ImageConfusion], fault: str | None) -> list[ImageConfusion]:
    """The counts of all processes; raises HypercolumnsError if one of them met a fault."""
    parts: list[Any] = [(counts, fault)]
    if trainer.world_size > 1:
        parts *= trainer.world_size
        torch.distributed.all_gather_object(parts, (counts, fault))
    for _, met in parts:
        if met is not None:
            raise HypercolumnsError(met)
    return [one for part, _ in parts for one in part]
