"""Count the pixels of each image in a validation, so that the best model needs no scoring after the training."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from hypercolumns.evaluation import Evaluation, ImageConfusion, count_image
from hypercolumns.models import model_file
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime import distributed


class ValidationCounts(pl.Callback):
    """Count the pixels of each val image by true and predicted class, and keep the counts in each checkpoint.

    The checkpoint of the best epoch then holds the evaluation of the best model. `evaluation_of` reads it. The task's
    validation step must return the predicted labels (B, H, W) of a batch (images, masks, ids, crop boxes).

    Args:
        segmenter: the complete model.
        boundary_width: the width of the boundary band, in pixels, see `labels.boundary_band`.
    """

    def __init__(self, segmenter: Segmenter, boundary_width: int) -> None:
        self.segmenter, self.boundary_width = segmenter, boundary_width
        self._counts: list[ImageConfusion] = []
        self._weights = ""
        self._state: dict[str, Any] = {}

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._counts, self._weights = [], ""

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # Not at the end of the validation: another callback may have replaced averaged weights by then.
        self._weights = self._weights or model_file.digest({}, self.segmenter.tensors())
        _, masks, ids, _ = batch
        for id, labels, mask in zip(ids, outputs, masks, strict=True):
            self._counts.append(count_image(id, labels, mask, len(self.segmenter.classes), self.boundary_width))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        counts = [count for part in distributed.gather(self._counts) for count in part]
        self._counts = []
        counts.sort(key=lambda count: count.id)
        self._state = {
            "weights": self._weights,
            "ids": [count.id for count in counts],
            "boundary_width": self.boundary_width,
            "all_pixels": _pack([count.all_pixels for count in counts]),
            "boundary": _pack([count.boundary for count in counts]),
        }

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = state_dict


def evaluation_of(checkpoint: Mapping[str, Any], segmenter: Segmenter) -> Evaluation | None:
    """Return the evaluation of a model that `ValidationCounts` kept in a checkpoint.

    Args:
        checkpoint: the checkpoint.
        segmenter: the model.

    Returns:
        The evaluation, with the images in the order of their ids. None if the checkpoint has no counts, or has the
        counts of a model with other weights.
    """
    state = checkpoint["callbacks"].get(ValidationCounts.__qualname__)
    if not state or state["weights"] != model_file.digest({}, segmenter.tensors()):
        return None
    shape = len(state["ids"]), len(segmenter.classes), len(segmenter.classes)
    return Evaluation(
        classes=segmenter.classes,
        ids=tuple(state["ids"]),
        all_pixels=_unpack(state["all_pixels"], shape),
        boundary=_unpack(state["boundary"], shape),
        boundary_width=state["boundary_width"],
    )


def _pack(matrices: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the positions and the values of the entries that are not 0: of 150 classes, an image shows few."""
    if not matrices:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    size = matrices[0].numel()
    positions = [matrix.flatten().nonzero()[:, 0] for matrix in matrices]
    values = [matrix.flatten()[position] for matrix, position in zip(matrices, positions, strict=True)]
    return torch.cat([number * size + position for number, position in enumerate(positions)]), torch.cat(values)


def _unpack(packed: tuple[Tensor, Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Return the matrices (N, C, C) that `_pack` packed."""
    positions, values = packed
    matrices = torch.zeros(shape, dtype=torch.int64)
    matrices.view(-1)[positions] = values
    return matrices
