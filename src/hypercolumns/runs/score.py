"""Scoring images at their own resolution, by one process or several."""

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
    """An evaluation, and what it takes to look at its images.

    `lookup` gives, of the image of a number, its pixels (3, H, W) uint8 if there are any, its true and its predicted
    class indices (H, W).
    """

    evaluation: Evaluation
    lookup: ImageLookup
    palette: Palette


@dataclass(frozen=True)
class Scorer:
    """How images are scored.

    Attributes:
        machine: that labels them.
        num_workers: processes that read them.
        boundary_width: of the band along true boundaries that boundary IoU is measured in, in pixels.
        bootstrap_samples: draws for the intervals of metrics; 0 for none.
        group_pattern: a regular expression on ids; images that agree in its match are drawn together.
        seed: of the draws.
    """

    machine: Machine
    num_workers: int
    boundary_width: int
    bootstrap_samples: int
    group_pattern: str | None
    seed: int

    def intervals(self, evaluation: Evaluation) -> dict[str, Any] | None:
        """The intervals of an evaluation's metrics, as JSON can say them; None for none."""
        return intervals(evaluation, self.group_pattern, self.bootstrap_samples, self.seed)

    def score(
        self, labeller: nn.Module, dataset: ImageDataset | PredictionDataset, classes: Sequence[str]
    ) -> Evaluation:
        """Count how a model labels each image of a dataset.

        Several processes that run this very command share the images; each of them returns the counts of all.

        Args:
            labeller: from images (B, 3, H, W) to class indices (B, H, W).
            dataset: images with their true masks.
            classes: the names of the classes.

        Returns:
            The evaluation, in the order of the dataset.

        Raises:
            HypercolumnsError: in all processes, for a file that can't be used, and for fewer images than processes.
        """
        ids = [pair.id for pair in dataset.pairs]
        resampling_groups(ids, self.group_pattern)  # before the work, not after it
        trainer = self.machine.trainer(TrainingProgressBar(), precision=self.machine.precision)
        if trainer.world_size > len(ids):
            raise HypercolumnsError(
                f"trainer.devices={self.machine.devices}: {trainer.world_size} processes can't share {len(ids)} "
                f"images; use at most {len(ids)}"
            )
        own = range(trainer.global_rank, len(ids), trainer.world_size)
        loader: DataLoader[Example] = DataLoader(
            dataset,
            batch_sampler=[[index] for index in own],
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
            labeller: from images (B, 3, H, W) to class indices (B, H, W).
            dataset: some images of `images`, at their own size.
            images: whose classes and palette count.
        """
        device = self.machine.device()

        def lookup(index: int) -> tuple[Tensor, Tensor, Tensor]:
            image, mask, *_ = dataset[index]
            with torch.inference_mode():
                labels = labeller.to(device)(image[None].to(device))[0].cpu()
            return (image * 255).round().byte(), mask, labels

        return ScoredImages(self.score(labeller, dataset, images.classes), lookup, images.palette)


def _of_all_ranks(trainer: pl.Trainer, counts: list[ImageConfusion], problem: str | None) -> list[ImageConfusion]:
    """The counts of all processes; raises HypercolumnsError if one of them met a problem."""
    parts: list[Any] = [(counts, problem)]
    if trainer.world_size > 1:
        parts *= trainer.world_size
        torch.distributed.all_gather_object(parts, (counts, problem))
    for _, met in parts:
        if met is not None:
            raise HypercolumnsError(met)
    return [count for part, _ in parts for count in part]
