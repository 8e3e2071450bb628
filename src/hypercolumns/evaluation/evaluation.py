"""How the images of a split were labelled: what is kept of an evaluation, and what can be said from it.

N images, C classes
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation.metrics import confusion, metrics_from_confusion, segmentation_metrics
from hypercolumns.io.files import atomic_write
from hypercolumns.labels import IGNORE_INDEX, boundary_band

REMEDY = "remove it, and run the command that made it again"
BOUNDARY_WIDTH = 3  # pixels, where nothing else is asked for


@dataclass(frozen=True)
class ImageConfusion:
    """The pixels of one image: of all of it, and of the band along the true boundaries; both (C, C), truth by row."""

    id: str
    all_pixels: Tensor
    boundary: Tensor


@dataclass(frozen=True)
class Evaluation:
    """A confusion matrix of each image, of all its pixels and of those near a true boundary.

    Attributes:
        classes: their names.
        ids: of the images.
        all_pixels: (N, C, C) int64, truth by row, void left out.
        boundary: the same of the pixels within `boundary_width` of a true boundary.
        boundary_width: in pixels, see `labels.boundary_band`.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    all_pixels: Tensor
    boundary: Tensor
    boundary_width: int

    @classmethod
    def of(cls, counts: Iterable[ImageConfusion], classes: Sequence[str], boundary_width: int) -> "Evaluation":
        """The evaluation of these images."""
        counts = list(counts)
        none = torch.zeros(0, len(classes), len(classes), dtype=torch.int64)
        all_pixels, boundary = (
            torch.stack(parts) if parts else none
            for parts in ([one.all_pixels for one in counts], [one.boundary for one in counts])
        )
        return cls(tuple(classes), tuple(one.id for one in counts), all_pixels, boundary, boundary_width)

    def figures(self) -> dict[str, Any]:
        """What `metrics.json` says of all images together; `boundary_...` is of the band along true boundaries."""
        near = segmentation_metrics(self.boundary.sum(0)).as_dict(self.classes)
        return {
            "images": len(self.ids),
            **segmentation_metrics(self.all_pixels.sum(0)).as_dict(self.classes),
            "boundary_width": self.boundary_width,
            **{f"boundary_{name}": near[name] for name in ("pixels", "miou", "pixel_accuracy", "per_class_iou")},
        }

    def worst(self, count: int) -> list[int]:
        """The numbers of the images with the lowest mIoU of their own, worst first; those all of void are left out."""
        miou = metrics_from_confusion(self.all_pixels)["miou"]
        return [int(index) for index in miou.argsort(stable=True) if not miou[index].isnan()][:count]

    def take(self, indices: Sequence[int]) -> "Evaluation":
        """The evaluation of some of the images."""
        chosen = list(indices)
        return Evaluation(
            self.classes,
            tuple(self.ids[index] for index in chosen),
            self.all_pixels[chosen],
            self.boundary[chosen],
            self.boundary_width,
        )

    def save(self, path: Path) -> None:
        """Write an `.npz` file of plain arrays: classes, ids, all_pixels, boundary, boundary_width."""
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                classes=np.array(self.classes),
                ids=np.array(self.ids),
                all_pixels=self.all_pixels.numpy(),
                boundary=self.boundary.numpy(),
                boundary_width=np.array(self.boundary_width),
            )

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """Read a file that `save` wrote; raises HypercolumnsError if it is missing, damaged or something else."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                evaluation = cls(
                    tuple(map(str, arrays["classes"])),
                    tuple(map(str, arrays["ids"])),
                    torch.from_numpy(arrays["all_pixels"]),
                    torch.from_numpy(arrays["boundary"]),
                    int(arrays["boundary_width"]),
                )
        except Exception as error:  # of a file that is anything at all
            raise HypercolumnsError(f"{path} holds no evaluation, or is damaged; {REMEDY}") from error
        shape = (len(evaluation.ids), len(evaluation.classes), len(evaluation.classes))
        if evaluation.all_pixels.shape != shape or evaluation.boundary.shape != shape:
            raise HypercolumnsError(f"{path} holds no evaluation (its shapes differ); {REMEDY}")
        return evaluation


def count_image(id: str, labels: Tensor, mask: Tensor, classes: int, boundary_width: int) -> ImageConfusion:
    """The counts of one image, from predicted and true class indices (H, W)."""
    near = torch.where(boundary_band(mask, boundary_width), mask.long(), IGNORE_INDEX)
    return ImageConfusion(id, confusion(labels, mask, classes).cpu(), confusion(labels, near, classes).cpu())
