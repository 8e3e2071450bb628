"""Score images at their original resolution, on one rank or several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    """An evaluation, and a function that looks up the evaluated images and their labels.

    Attributes:
        evaluation: the confusion matrices of each image.
        lookup: takes the index of an image in the evaluation. It returns three tensors: the image (3, H, W) uint8, or
            None if there is no image file; the true class indices (H, W); the predicted class indices (H, W).
        palette: the colour of each class, by class index.
    """

    evaluation: Evaluation
    lookup: ImageLookup
    palette: Palette


@dataclass(frozen=True)
class Scorer:
    """Score predicted labels against the true masks of images. A model or files give the predictions.

    Attributes:
        machine: the device and ranks that run the model.
        num_workers: the number of processes that read images; 0: this process reads them.
        boundary_width: the boundary metrics count a pixel if another true label is at most this many pixels away.
        bootstrap_samples: the number of bootstrap samples for the confidence intervals; 0 for no intervals.
        group_pattern: a regular expression that determines the group of an image id, see `data.groups.group_ids`.
            Bootstrap samples draw whole groups. None: they draw single images.
        seed: the seed of the bootstrap.
    """

    machine: Machine
    num_workers: int
    boundary_width: int
    bootstrap_samples: int
    group_pattern: str | None
    seed: int

    def intervals(self, evaluation: Evaluation) -> dict[str, Any] | None:
        """Return the confidence intervals of an evaluation's metrics, for JSON.

        Return None if `bootstrap_samples` is 0, or if there are fewer than two groups. Without a `group_pattern`, each
        image is a group.
        """
        return intervals(evaluation, self.group_pattern, self.bootstrap_samples, self.seed)

    def score(
        self, labeller: nn.Module, dataset: ImageDataset | PredictionDataset, classes: Sequence[str]
    ) -> Evaluation:
        """Count the pixels of each image of a dataset by true and predicted class.

        The ranks share the images, and each rank returns the evaluation of all images.

        Args:
            labeller: maps a batch of the dataset's images to class indices (B, H, W). For a `PredictionDataset`, whose
                images are predicted class indices already, it is `nn.Identity`.
            dataset: images (3, H, W) uint8, or predicted class indices (H, W), with their true masks.
            classes: the names of the classes.

        Returns:
            The evaluation, in the order of the dataset.

        Raises:
            HypercolumnsError: if `group_pattern` does not match every id, if there are fewer images than ranks, or if
                a file can't be used. All ranks raise the error, even if only one of them can't use a file.
        """
        ids = [pair.id for pair in dataset.pairs]
        resampling_groups(ids, self.group_pattern)  # if the pattern does not match, this raises before the scoring
        trainer = self.machine.trainer(TrainingProgressBar(), precision=self.machine.precision)
        if trainer.world_size > len(ids):
            raise HypercolumnsError(
                f"trainer.devices={self.machine.devices}: {trainer.world_size} processes can't share {len(ids)} "
                f"images; use at most {len(ids)} processes"
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
        counts = _of_all_ranks(task.counts, problem)
        order = {id: number for number, id in enumerate(ids)}
        return Evaluation.of(sorted(counts, key=lambda count: order[count.id]), classes, self.boundary_width)

    def score_model(
        self,
        labeller: nn.Module,
        dataset: ImageDataset,
        images: DatasetIndex,
        validated: Evaluation | None = None,
    ) -> ScoredImages:
        """Score a model on the images of a dataset.

        Args:
            labeller: maps images (B, 3, H, W) to class indices (B, H, W).
            dataset: the images to score, at their original size, with their true masks.
            images: the data set that the images belong to; it gives the classes and the palette.
            validated: an evaluation of the same model during its training; None if there is none. If it is of exactly
                these images, with the same boundary width, it is returned in place of a new one.

        Returns:
            The evaluation and a lookup function. The lookup function predicts the labels of an image again, because the
            scoring keeps no labels.
        """
        device = self.machine.device()

        def lookup(index: int) -> tuple[Tensor, Tensor, Tensor]:
            image, mask, *_ = dataset[index]
            with torch.inference_mode():
                labels = labeller.to(device)(image[None].to(device))[0].cpu()
            return image, mask, labels

        ids = [pair.id for pair in dataset.pairs]
        evaluation = validated and validated.of_images(ids)
        if evaluation is None or evaluation.boundary_width != self.boundary_width:
            evaluation = self.score(labeller, dataset, images.classes)
        return ScoredImages(evaluation, lookup, images.palette)


def _of_all_ranks(counts: list[ImageConfusion], problem: str | None) -> list[ImageConfusion]:
    """Gather the confusion matrices from all ranks.

    Args:
        counts: the confusion matrices of this rank's images.
        problem: the message of an error on this rank; None if there was no error.

    Returns:
        The confusion matrices of all images, ordered by rank.

    Raises:
        HypercolumnsError: if there was an error on any rank.
    """
    parts = distributed.gather((counts, problem))
    for _, message in parts:
        if message is not None:
            raise HypercolumnsError(message)
    return [count for part, _ in parts for count in part]
