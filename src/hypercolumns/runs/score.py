"""Score images at their original resolution, on one rank or several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hypercolumns.callbacks import TrainingProgressBar
from hypercolumns.data import DatasetIndex, Example, PredictionDataset
from hypercolumns.data.modules.image_data import ImageDataset, collate
from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation import Evaluation, ImageConfusion, intervals, resampling_groups
from hypercolumns.labels import Palette
from hypercolumns.runtime import distributed
from hypercolumns.runtime.distributed import Machine
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.tasks import EvaluationTask

ImageLookup = Callable[[int], tuple[Tensor | None, Tensor, Tensor]]


class ScoredImages(NamedTuple):
    """An evaluation, and access to its images for drawing them.

    Attributes:
        evaluation: the confusion matrices.
        lookup: returns, for the index of an image, the pixels (3, H, W) uint8 or None, the true class indices (H, W)
            and the predicted class indices (H, W).
        palette: the colours of the classes.
    """

    evaluation: Evaluation
    lookup: ImageLookup
    palette: Palette


@dataclass(frozen=True)
class Scorer:
    """Score a model's predictions of images.

    Attributes:
        machine: the device and ranks that run the model.
        num_workers: the number of processes that read images.
        boundary_width: the width in pixels of the band along true boundaries in which boundary IoU is measured.
        bootstrap_samples: the number of bootstrap draws for the confidence intervals; 0 for no intervals.
        group_pattern: a regular expression on image ids; images with the same match are drawn together. None draws each
            image independently.
        seed: the seed of the draws.
    """

    machine: Machine
    num_workers: int
    boundary_width: int
    bootstrap_samples: int
    group_pattern: str | None
    seed: int

    def intervals(self, evaluation: Evaluation) -> dict[str, Any] | None:
        """Return the confidence intervals of an evaluation's metrics for JSON; None without draws or two groups."""
        return intervals(evaluation, self.group_pattern, self.bootstrap_samples, self.seed)

    def score(
        self, labeller: nn.Module, dataset: ImageDataset | PredictionDataset, classes: Sequence[str]
    ) -> Evaluation:
        """Compute a confusion matrix for each image of a dataset.

        The ranks share the images; each rank returns the evaluation of all of them.

        Args:
            labeller: maps images (B, 3, H, W) to class indices (B, H, W).
            dataset: images with their true masks.
            classes: the names of the classes.

        Returns:
            The evaluation, in the order of the dataset.

        Raises:
            HypercolumnsError: on every rank, if a file can't be used on any of them, or if there are fewer images than
                ranks.
        """
        ids = [pair.id for pair in dataset.pairs]
        resampling_groups(ids, self.group_pattern)  # fails before the scoring if the pattern does not fit
        trainer = self.machine.trainer(TrainingProgressBar(), precision=self.machine.precision)
        if trainer.world_size > len(ids):
            raise HypercolumnsError(
                f"trainer.devices={self.machine.devices}: {trainer.world_size} processes can't share {len(ids)} "
                f"images; use at most {len(ids)}"
            )
        on_this_rank = range(trainer.global_rank, len(ids), trainer.world_size)
        loader: DataLoader[Example] = DataLoader(
            dataset,
            batch_sampler=[[index] for index in on_this_rank],
            num_workers=self.num_workers,
            collate_fn=collate,
            worker_init_fn=ignore_signals_in_worker,
        )
        task = EvaluationTask(labeller.eval(), len(classes), self.boundary_width)
        problem = None
        try:
            with distributed.interruptible(trainer):
                trainer.test(task, loader, verbose=False)
        except HypercolumnsError as error:
            problem = str(error)
        counts = _of_all_ranks(trainer, task.counts, problem)
        order = {id: number for number, id in enumerate(ids)}
        return Evaluation.of(sorted(counts, key=lambda count: order[count.id]), classes, self.boundary_width)

    def score_model(self, labeller: nn.Module, dataset: ImageDataset, images: DatasetIndex) -> ScoredImages:
        """Score a model on the images of a dataset.

        Args:
            labeller: maps images (B, 3, H, W) to class indices (B, H, W).
            dataset: images of `images`, at their original size.
            images: the data set, which provides the classes and the palette.

        Returns:
            The evaluation, and a lookup that predicts an image again when it is drawn.
        """
        device = self.machine.device()

        def lookup(index: int) -> tuple[Tensor, Tensor, Tensor]:
            image, mask, *_ = dataset[index]
            with torch.inference_mode():
                labels = labeller.to(device)(image[None].to(device))[0].cpu()
            return (image * 255).round().byte(), mask, labels

        return ScoredImages(self.score(labeller, dataset, images.classes), lookup, images.palette)


def _of_all_ranks(trainer: pl.Trainer, counts: list[ImageConfusion], problem: str | None) -> list[ImageConfusion]:
    """Gather the counts of all ranks.

    Args:
        trainer: the trainer that ran on every rank.
        counts: this rank's counts.
        problem: the message of this rank's error; None if it had none.

    Returns:
        The counts of all ranks.

    Raises:
        HypercolumnsError: if any rank had an error.
    """
    parts: list[Any] = [(counts, problem)]
    if trainer.world_size > 1:
        parts *= trainer.world_size
        torch.distributed.all_gather_object(parts, (counts, problem))
    for _, message in parts:
        if message is not None:
            raise HypercolumnsError(message)
    return [count for part, _ in parts for count in part]
