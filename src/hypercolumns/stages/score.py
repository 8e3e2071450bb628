"""Scoring images at their own resolution, by one process or several."""

import pytorch_lightning as pl
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader

from hypercolumns.callbacks import TrainingProgress
from hypercolumns.data import Example, PredictionDataset
from hypercolumns.data.images import ImageDataset, collate
from hypercolumns.evaluation import Evaluation
from hypercolumns.stages import build
from hypercolumns.tasks import Scoring


def score(
    cfg: DictConfig, labeller: nn.Module, dataset: ImageDataset | PredictionDataset, classes: tuple[str, ...]
) -> Evaluation:
    """Count how the labeller labels each image of the dataset, in its order.

    With `trainer.devices` above 1, that many processes run this very command and share the images; each of them returns
    the counts of all.
    """
    trainer: pl.Trainer = build.bare_trainer(cfg, precision=cfg.trainer.precision, callbacks=[TrainingProgress()])
    own = range(trainer.global_rank, len(dataset), trainer.world_size)
    loader: DataLoader[Example] = DataLoader(
        dataset, batch_sampler=[[index] for index in own], num_workers=cfg.num_workers, collate_fn=collate
    )
    task = Scoring(labeller.eval(), len(classes), cfg.boundary)
    with build.interruptible(trainer):
        trainer.test(task, loader, verbose=False)
    order = {pair.id: number for number, pair in enumerate(dataset.pairs)}
    return Evaluation.of(sorted(task.counts, key=lambda one: order[one.id]), classes, cfg.boundary)
